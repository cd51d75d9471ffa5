// transpose.wgsl — y[c, r] = x[r, c]
//
// Shapes    x [R, C], y [C, R]
// Work      one workgroup a tile of 32 × 32: it is read row by row into workgroup memory and written column by column, so that both are
//           contiguous; a row of 33 keeps columns in different banks
// Dispatch  (tiles, folded, 1), tiles of a row of x first
// Cost      reads x once, writes y once; bandwidth bound
// Numerics  exact
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
const TILE = 32u;
struct Params { rows: u32, columns: u32 }
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read_write> y: array<X>;

var<workgroup> sh_tile: array<X, 1056>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let across = (params.columns + TILE - 1u) / TILE;
  let tile = wid.y * groups.x + wid.x;
  let row = tile / across * TILE;
  let column = tile % across * TILE;
  if (row >= params.rows) { return; }
  for (var i = lane / TILE; i < TILE; i += 8u) {
    let c = column + lane % TILE;
    if (row + i < params.rows && c < params.columns) { sh_tile[i * 33u + lane % TILE] = x[(row + i) * params.columns + c]; }
  }
  workgroupBarrier();
  for (var i = lane / TILE; i < TILE; i += 8u) {
    let r = row + lane % TILE;
    if (column + i < params.columns && r < params.rows) { y[(column + i) * params.rows + r] = sh_tile[lane % TILE * 33u + i]; }
  }
}
