// gelu.wgsl — y = GELU(x), in the tanh approximation
//
// Shapes    x, y [R], padded in memory to a multiple of 4
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Numerics  f32 for every storage type; the cube and the exponential are bounded
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
//! end
struct Params { count4: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>;

//! part shared/gelu_tanh.wgsl
fn gelu_tanh(v: vec4<f32>) -> vec4<f32> {
  // 0.5 v (1 + tanh(u)) = v · sigmoid(2u). Past ±10 the sigmoid is 0 or 1 to the last bit; bounding v there keeps the cube
  // and the exponential finite.
  let c = clamp(v, vec4<f32>(-10.0), vec4<f32>(10.0));
  return v / (1.0 + exp(-1.5957691216057308 * (c + 0.044715 * c * c * c)));
}
//! part ends

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  y[i] = vec4<Y>(gelu_tanh(vec4<f32>(x[i])));
}
