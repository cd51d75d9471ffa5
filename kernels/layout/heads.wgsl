// heads.wgsl — tokens by row ↔ by head
//
// Shapes    a row [M, N] · by head [N/D, M, D]. MERGE: x by head, y by row; else x by row, y by head
// Work      one thread copies a vec4
// Dispatch  (ceil(m · heads · D/4 / 64), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Needs     D % 4 == 0 (checked in src/ops/heads.ts)
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
const MERGE: bool = true;
//! end
// Of this dispatch: count vectors, of m rows from the start of what is bound by row, and heads from there by head; first, n4: the
// vector of a row of n4 that they begin with; d4: vectors of a head · row, rows: the first row, and all, of a head
struct Params { count: u32, m: u32, d4: u32, first: u32, n4: u32, row: u32, rows: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count) { return; }
  let m = i / params.d4 % params.m;
  let head = i / params.d4 / params.m;
  let by_head = (head * params.rows + params.row + m) * params.d4 + i % params.d4;
  let by_row = m * params.n4 + params.first + head * params.d4 + i % params.d4;
  if (MERGE) { y[by_row] = vec4<Y>(x[by_head]); } else { y[by_head] = vec4<Y>(x[by_row]); }
}
