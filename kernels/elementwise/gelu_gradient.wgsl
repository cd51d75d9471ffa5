// gelu_gradient.wgsl — dx = dy · GELU'(x), of the tanh approximation
//
// Shapes    x, dy, dx [R], padded in memory to a multiple of 4
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads both once, writes once; bandwidth bound
// Numerics  f32; the square and the exponential are bounded; IN_PLACE: dy lies in dx
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
//! part shared/slope.wgsl
//! specialise
alias X = f32;
alias G = f32;
alias Y = f32;
const IN_PLACE = 0u;
//! end
struct Params { count4: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<Y>>;

fn given(i: u32) -> vec4<f32> {
  if (IN_PLACE == 1u) { return vec4<f32>(dx[i]); }
  return vec4<f32>(dy[i]);
}
//! part ends

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  let g = given(i);
  // GELU is v · s with s = sigmoid(2u), u = √(2/π) (v + 0.044715 v³); s' = s (1 − s) · 2u'. Past ±10 s is 0 or 1 to the last bit, and so is
  // the slope.
  let v = clamp(vec4<f32>(x[i]), vec4<f32>(-10.0), vec4<f32>(10.0));
  let s = 1.0 / (1.0 + exp(-1.5957691216057308 * (v + 0.044715 * v * v * v)));
  dx[i] = vec4<Y>(g * (s + v * s * (1.0 - s) * (1.5957691216057308 * (1.0 + 0.134145 * v * v))));
}
