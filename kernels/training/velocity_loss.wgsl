// velocity_loss.wgsl — squared error of a predicted velocity, a row at a time, and its gradient
//
//   v = signal · noise − sigma · x;  d = prediction − v;  part = Σ d² · share;  gradient = d · slope
//
// Shapes    prediction, x, noise, gradient [R, C] · part [R] · rows [R]: a row's clip
//           table [clips, 4]: signal = √ᾱ, sigma = √(1 − ᾱ), share and slope: what a square counts, and the gradient of it
// Work      one workgroup a row; threads stride over its values, then a tree
// Dispatch  (R, folded, 1)
// Cost      reads three tensors, writes one; bandwidth bound
// Numerics  f32; the error is taken before it is squared, so nothing cancels
// After     Salimans & Ho 2022, arXiv:2202.00512
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias P = f32;
//! end
const WG = 64u;
struct Params { rows: u32, width: u32, first: u32 }
@group(0) @binding(1) var<storage, read> prediction: array<P>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> noise: array<f32>;
@group(0) @binding(4) var<storage, read> rows: array<u32>;
@group(0) @binding(5) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(7) var<storage, read_write> part: array<f32>;

var<workgroup> sh_sum: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  if (row >= params.rows) { return; }
  let c = table[rows[params.first + row]];
  var sum = 0.0;
  for (var i = lane; i < params.width; i += WG) {
    let at = row * params.width + i;
    let d = f32(prediction[at]) - (c.x * noise[at] - c.y * x[at]);
    gradient[at] = d * c.w;
    sum += d * d;
  }
  sh_sum[lane] = sum;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { sh_sum[lane] += sh_sum[lane + half]; }
    workgroupBarrier();
  }
  if (lane == 0u) { part[params.first + row] = sh_sum[0] * c.z; }
}
