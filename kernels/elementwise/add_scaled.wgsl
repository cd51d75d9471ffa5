// add_scaled.wgsl — y = a + factor · b, with a factor that the device has computed
//
// Shapes    a, b, y [R] of R values, a multiple of 4 · factor [4], the first of which counts
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads both once, writes once; bandwidth bound
// Numerics  f32 for every storage type; IN_PLACE: a lies in y
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
@group(0) @binding(3) var<storage, read> factor: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<Y>>;

fn given(i: u32) -> vec4<f32> {
  if (IN_PLACE == 1u) { return vec4<f32>(y[i]); }
  return vec4<f32>(a[i]);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  y[i] = vec4<Y>(given(i) + factor[0] * vec4<f32>(b[i]));
}
