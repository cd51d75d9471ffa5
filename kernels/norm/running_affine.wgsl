// running_affine.wgsl — a batch norm by running statistics as a scale and a shift of each channel; backwards, dw of its weight
//
// Shapes    all [C]: mean, variance, a, b · scale, shift
//           scale = a / √(variance + eps), shift = b − mean · scale, with a the weight and b the bias
//           BACK: scale = (a − mean · b) / √(variance + eps), with a dscale and b dshift: the weight's gradient. The bias's is dshift.
// Work      one lane per channel
// Dispatch  (ceil(C / WG), 1, 1)
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const BACK: bool = false;
//! end
override WG: u32 = 64;
struct Params { channels: u32, eps: f32 }
@group(0) @binding(1) var<storage, read> mean: array<f32>;
@group(0) @binding(2) var<storage, read> variance: array<f32>;
@group(0) @binding(3) var<storage, read> a: array<f32>;
@group(0) @binding(4) var<storage, read> b: array<f32>;
@group(0) @binding(5) var<storage, read_write> scale: array<f32>;
@group(0) @binding(6) var<storage, read_write> shift: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  if (c >= params.channels) { return; }
  let rstd = inverseSqrt(variance[c] + params.eps);
  if (BACK) {
    scale[c] = (a[c] - mean[c] * b[c]) * rstd;
    shift[c] = b[c];
  } else {
    scale[c] = a[c] * rstd;
    shift[c] = b[c] - mean[c] * (a[c] * rstd);
  }
}
