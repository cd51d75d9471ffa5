// add.wgsl — y = a + b
//
// Shapes    a, b, y [R], padded in memory to a multiple of 4
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads both once, writes once; bandwidth bound
// Numerics  f32; IN_PLACE: a lies in y
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias A = f32;
alias B = f32;
alias Y = f32;
const IN_PLACE = 0u;
//! end
struct Params { count4: u32 }
@group(0) @binding(1) var<storage, read> a: array<vec4<A>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<B>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  var first: vec4<f32>;
  if (IN_PLACE == 1u) { first = vec4<f32>(y[i]); } else { first = vec4<f32>(a[i]); }
  y[i] = vec4<Y>(first + vec4<f32>(b[i]));
}
