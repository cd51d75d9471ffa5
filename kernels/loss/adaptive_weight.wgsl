// adaptive_weight.wgsl — how much an adversarial loss counts: λ = clamp(‖∂rec/∂w‖ / (‖∂g/∂w‖ + eps), 0, most), times a weight
//
// Shapes    of_rec, of_gen [2, P] as square_sum leaves them: partial sums of squares, counts of values that are not finite
//           settings [4]: one over the scale of both gradients, weight, most, eps
//           y [4]: weight · λ, λ, ‖∂rec/∂w‖, ‖∂g/∂w‖
// Work      one workgroup; threads stride over the partial sums, then a tree
// Dispatch  (1, 1, 1)
// Numerics  f32; a gradient that is not finite has no norm that says anything: λ is 0 then
// After     Esser, Rombach & Ommer 2021, arXiv:2012.09841
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
const WG: u32 = 64;
struct Params { partials: u32 }
@group(0) @binding(1) var<storage, read> of_rec: array<f32>;
@group(0) @binding(2) var<storage, read> of_gen: array<f32>;
@group(0) @binding(3) var<storage, read> settings: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

var<workgroup> sh_sum: array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = vec4<f32>();
  for (var i = lane; i < params.partials; i += WG) {
    sum += vec4<f32>(of_rec[i], of_gen[i], of_rec[params.partials + i], of_gen[params.partials + i]);
  }
  sh_sum[lane] = sum;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { sh_sum[lane] += sh_sum[lane + half]; }
  }
  if (lane == 0u) {
    let s = settings[0];
    let norms = sqrt(sh_sum[0].xy) * s.x;
    var lambda = clamp(norms.x / (norms.y + s.w), 0.0, s.z);
    if (sh_sum[0].z + sh_sum[0].w > 0.0) { lambda = 0.0; }
    y[0] = vec4<f32>(s.y * lambda, lambda, norms);
  }
}
