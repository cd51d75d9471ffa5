// gradient_norm.wgsl — the norm of all gradients, the factor that clips it, and whether every value is finite
//
// Shapes    sums [2, P]: partial sums of squares, counts of values that are not finite (square_sum.wgsl)
//           settings, control [16]: settings 0 is the largest norm, 1 what undoes the scale of the loss; control 0 is the norm, 1 the
//           factor of gradients, 2 whether the step is taken (1 or 0), 3 the count of values that are not finite; the rest of the
//           settings is passed on, so that an update reads one small tensor
// Work      one workgroup: each thread adds every WG-th partial in order, then a tree
// Dispatch  (1, 1, 1)
// Numerics  f32; a sum that overflows counts as a value that is not finite
// After     torch.nn.utils.clip_grad_norm_: min(1, max / (norm + 1e-6))
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
const WG = 256u;
struct Params { partials: u32 }
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read> settings: array<f32, 16>;
@group(0) @binding(3) var<storage, read_write> control: array<f32, 16>;

var<workgroup> sh_sum: array<vec2<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  var part = vec2<f32>();
  for (var i = lane; i < params.partials; i += WG) { part += vec2<f32>(sums[i], sums[params.partials + i]); }
  sh_sum[lane] = part;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { sh_sum[lane] += sh_sum[lane + half]; }
    workgroupBarrier();
  }
  if (lane >= 4u && lane < 16u) { control[lane] = settings[lane]; }
  if (lane == 0u) {
    let total = sh_sum[0];
    let overflow = (bitcast<u32>(total.x) & 0x7f800000u) == 0x7f800000u;
    let bad = total.y + select(0.0, 1.0, overflow);
    let norm = sqrt(select(total.x, 0.0, overflow)) * settings[1];
    control[0] = norm;
    control[1] = settings[1] * min(1.0, settings[0] / (norm + 1e-6));
    control[2] = select(0.0, 1.0, bad == 0.0);
    control[3] = bad;
  }
}
