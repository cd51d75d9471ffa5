// pad_columns.wgsl — rows of C values → rows of S values, zeros at the end where S is more, the first S where it is less
//
// Shapes    x [R, C] · y [R, S]
// Work      one thread a value
// Dispatch  (ceil(R·S / 64), folded, 1)
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
struct Params { count: u32, columns: u32, stride: u32 }
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read_write> y: array<X>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count) { return; }
  let column = i % params.stride;
  var v = X(0.0);
  if (column < params.columns) { v = x[(i / params.stride) * params.columns + column]; }
  y[i] = v;
}
