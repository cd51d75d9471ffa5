// shared/attention_tile.wgsl — a workgroup's head and tile: queries and keys of one segment
//
// Expects   `Params`, `tiles`, `BIAS` (shared/attention.wgsl) · `wid`, `groups`
// Gives     head · tile: first query, queries, first key, keys' end · bias_base

let group = wid.y * groups.x + wid.x;
if (group >= params.tiles * params.heads) { return; }
let head = group / params.tiles;
let tile = tiles[group % params.tiles];
// A list may have room for more tiles than there are.
if (tile.y == 0u) { return; }
// The bias of a key and a query is at this + key − query; it may wrap below zero, and comes back. What is read for a key or query
// that does not count is not used.
var bias_base = 0u;
if (BIAS) {
  bias_base = (params.head_base + head) * (2u * params.longest - 1u) + params.longest - 1u
    + tiles[params.tiles + group % params.tiles].x - tile.z;
}
