// leaky_relu.wgsl — y = x where x > 0, else slope · x; with a slope of 0 the rectifier
//
// Shapes    x, y [R] of R values, a multiple of 4
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Numerics  exact for a slope of 0
// After     Maas, Hannun & Ng 2013
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
//! end
struct Params { count4: u32, slope: f32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  let v = vec4<f32>(x[i]);
  y[i] = vec4<Y>(select(v * params.slope, v, v > vec4<f32>(0.0)));
}
