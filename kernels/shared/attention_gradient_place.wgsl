// shared/attention_gradient_place.wgsl — a workgroup's head and tile
//
// Expects   `Params`, `tiles` (shared/attention_gradient.wgsl) · `wid`, `groups`
// Gives     tile: first own row, own rows, first of what it walks, end of that · last: its last own row · q_base, k_base: the head's rows

let group = wid.y * groups.x + wid.x;
if (group >= params.tiles * params.heads) { return; }
let tile = tiles[group % params.tiles];
// A list may have room for more tiles than there are.
if (tile.y == 0u) { return; }
let last = tile.x + tile.y - 1u;
let q_base = group / params.tiles * params.rows_q;
let k_base = group / params.tiles * params.rows_k;
