// swish.wgsl — y = x · sigmoid(beta · x)
//
// Shapes    x, y: any, in count4 vectors of 4
// Work      one lane a vector
// Dispatch  (ceil(count4 / WG), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Numerics  f32; the argument of exp is bounded, so any finite x is right
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
override WG: u32 = 64;
struct Params { count4: u32, beta: f32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * WG + lane;
  if (i >= params.count4) { return; }
  let v = vec4<f32>(x[i]);
  y[i] = v / (1.0 + exp(clamp(-params.beta * v, vec4<f32>(-80.0), vec4<f32>(80.0))));
}
