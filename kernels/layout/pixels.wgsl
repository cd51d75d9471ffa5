// pixels.wgsl — decoded pixels in −1…1 → frames in 0…1, or RGBA bytes
//
// Shapes    x [P, Cp], its first three channels red, green, blue · y [P, 3] f32: clamp(x / 2 + 0.5) · RGBA: y [P] u32, red in the
//           lowest byte, alpha 255
// Work      one lane per pixel
// Dispatch  (ceil(P / WG), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Numerics  bytes are rounded to nearest, halves to even, as NumPy's round does
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
const RGBA: bool = false;
//! end
override WG: u32 = 64;
// count: pixels of this dispatch, from the `first` on · c4: vectors of a pixel of x
struct Params { count: u32, first: u32, c4: u32, x_base: u32, y_base: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<Y>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.count) { return; }
  let p = params.first + id;
  let v = clamp(vec4<f32>(x[params.x_base + p * params.c4]) * 0.5 + 0.5, vec4<f32>(0.0), vec4<f32>(1.0));
  if (RGBA) {
    let bytes = vec4<u32>(round(v * 255.0));
    y[params.y_base + p] = Y(bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (255u << 24u));
  } else {
    y[params.y_base + 3u * p] = Y(v.x);
    y[params.y_base + 3u * p + 1u] = Y(v.y);
    y[params.y_base + 3u * p + 2u] = Y(v.z);
  }
}
