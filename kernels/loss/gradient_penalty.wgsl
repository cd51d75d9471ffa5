// gradient_penalty.wgsl — what the length of each sample's gradient costs, and by what the gradient is scaled to be that cost's own
//
// Shapes    sums [B, S, 3, C] (group_norm_gradient_sums of the gradient with itself, mean 0 and rstd 1): its last row are sums of squares
//           settings [4]: weight, target, share, 0
//           y [B, 4]: weight · (1 − target / ‖g‖) four times, weight where target is 0, 0 where ‖g‖ is · loss [B]: share · (‖g‖ − target)²
// Work      one workgroup a sample; threads stride over the slices, then a tree
// Dispatch  (B, 1, 1)
// Cost      small
// Numerics  f32
// After     Gulrajani et al. 2017, arXiv:1704.00028 (target 1); Mescheder, Geiger & Nowozin 2018, arXiv:1801.04406 (target 0)
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
const WG: u32 = 64;
struct Params { slices: u32, c4: u32 }
@group(0) @binding(1) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> settings: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;

var<workgroup> sh_sum: array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  var sum = vec4<f32>();
  let first = wid.x * params.slices;
  for (var i = lane; i < params.slices * params.c4; i += WG) {
    sum += sums[((first + i / params.c4) * 3u + 2u) * params.c4 + i % params.c4];
  }
  sh_sum[lane] = sum;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { sh_sum[lane] += sh_sum[lane + half]; }
  }
  if (lane == 0u) {
    let s = settings[0];
    let length = sqrt(max(dot(sh_sum[0], vec4<f32>(1.0)), 0.0));
    var factor = s.x;
    if (s.y > 0.0) { factor = select(0.0, s.x * (1.0 - s.y / max(length, 1e-30)), length > 0.0); }
    y[wid.x] = vec4<f32>(factor);
    loss[wid.x] = s.z * (length - s.y) * (length - s.y);
  }
}
