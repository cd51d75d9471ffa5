// silu_gradient.wgsl — dx = dy · σ(x) · (1 + x · (1 − σ(x))), the gradient of x · σ(x)
//
// Shapes    x, dy, dx [R], padded in memory to a multiple of 4
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads both once, writes once; bandwidth bound
// Numerics  f32; the exponential's argument is bounded, so that it cannot overflow; IN_PLACE: dy lies in dx
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
  // Past ±80 the sigmoid is 0 or 1, and so is the whole factor.
  let v = clamp(vec4<f32>(x[i]), vec4<f32>(-80.0), vec4<f32>(80.0));
  let s = 1.0 / (1.0 + exp(-v));
  dx[i] = vec4<Y>(g * s * (1.0 + v * (1.0 - s)));
}
