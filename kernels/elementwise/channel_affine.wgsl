// channel_affine.wgsl — y = x · scale + shift, by channel
//
// Shapes    x, y [R, C] · scale, shift [C]
// Work      one lane per vector
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Needs     C % 4 == 0; zeros in scale and shift for padded channels
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
const SHIFT: bool = true;
//! end
override WG: u32 = 64;
struct Params { count: u32, c4: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> shift: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * WG + lane;
  if (i >= params.count) { return; }
  let c = i % params.c4;
  var v = vec4<f32>(x[i]) * scale[c];
  if (SHIFT) { v += shift[c]; }
  y[i] = vec4<Y>(v);
}
