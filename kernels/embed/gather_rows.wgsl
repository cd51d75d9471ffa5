// gather_rows.wgsl — y[i] = x[index[i]], zeros where the index is past the last row
//
// Shapes    index [M] · x: rows first … first + rows of [R, C] row-major · y [M, C]
// Work      one thread a vec4 of y. An x larger than a binding is bound in windows of rows, one dispatch each; a row of y is
//           written by the window that holds what it reads, and zeros by the first
// Dispatch  (ceil(M·C/4 / 64), folded, 1)
// Cost      reads M rows, writes M rows; bandwidth bound
// Needs     C % 4 == 0 (checked in src/ops/gather_rows.ts)
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
//! end
struct Params { count: u32, c4: u32, first: u32, rows: u32, all: u32 }
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count * params.c4) { return; }
  let row = index[i / params.c4];
  if (row >= params.all) {
    if (params.first == 0u) { y[i] = vec4<Y>(); }
    return;
  }
  if (row < params.first || row - params.first >= params.rows) { return; }
  y[i] = vec4<Y>(x[(row - params.first) * params.c4 + i % params.c4]);
}
