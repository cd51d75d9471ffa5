// leaky_relu_gradient.wgsl — dx = dy where x > 0, else slope · dy; y tells the sign of x
//
// Shapes    y, dy, dx [R] of R values, a multiple of 4
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads both once, writes once; bandwidth bound
// Numerics  exact for a slope of 0; IN_PLACE: dy lies in dx
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias G = f32;
alias Y = f32;
const IN_PLACE = 0u;
//! end
struct Params { count4: u32, slope: f32 }
@group(0) @binding(1) var<storage, read> y: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<Y>>;

fn given(i: u32) -> vec4<f32> {
  if (IN_PLACE == 1u) { return vec4<f32>(dx[i]); }
  return vec4<f32>(dy[i]);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  let g = given(i);
  dx[i] = vec4<Y>(select(g * params.slope, g, vec4<f32>(y[i]) > vec4<f32>(0.0)));
}
