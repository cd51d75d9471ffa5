// sum_parts.wgsl — y = the sum of S arrays, without the columns and rows by which they are padded
//
// Shapes    x [S, R', C'] · y [R, C], and of a window of y as much as is bound
// Work      one thread a value; neighbours read neighbours
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Numerics  f32, in the order of the parts
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
override WG: u32 = 64;
// count, first: values of y that are bound, and the first of them · parts: S · part: values of one · columns: C · stride: C'
struct Params { count: u32, first: u32, parts: u32, part: u32, columns: u32, stride: u32 }
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * WG + lane;
  if (i >= params.count) { return; }
  let here = params.first + i;
  let at = here / params.columns * params.stride + here % params.columns;
  var sum = x[at];
  for (var s = 1u; s < params.parts; s++) { sum += x[at + s * params.part]; }
  y[i] = sum;
}
