// silu.wgsl — y = x · sigmoid(x)
//
// Shapes    x, y [R], padded in memory to a multiple of 4
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Numerics  f32 for every storage type; the exponential's argument is bounded, so that it cannot overflow
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
//! end
struct Params { count4: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>;

//! part shared/silu.wgsl
fn silu(v: vec4<f32>) -> vec4<f32> { return v / (1.0 + exp(clamp(-v, vec4<f32>(-80.0), vec4<f32>(80.0)))); }
//! part ends

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  y[i] = vec4<Y>(silu(vec4<f32>(x[i])));
}
