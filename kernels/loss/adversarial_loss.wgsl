// adversarial_loss.wgsl — the mean over a discriminator's scores of relu(1 − s), relu(1 + s) or −s
//
// Shapes    scores [R] vectors, the score in the first of four · y [1]
// Work      one workgroup: a map of scores is small. Threads stride over it, then a tree.
// Dispatch  (1, 1, 1)
// Cost      reads the scores once
// Numerics  f32; NaN where a score is not finite, which a relu would make 0 of. Exponents are tested by their bits, since WGSL may
//           assume that neither NaN nor infinity exists
// After     Lim & Ye 2017, arXiv:1705.02894
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const SIDE: u32 = 0; // 0: real · 1: made, for the discriminator · 2: made, for the generator
//! end
const WG: u32 = 64;
struct Params { count: u32, share: f32 }
@group(0) @binding(1) var<storage, read> scores: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

var<workgroup> sh_sum: array<f32, WG>;
// Of scores that are not finite.
var<workgroup> sh_bad: array<u32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  var bad = 0u;
  for (var i = lane; i < params.count; i += WG) {
    let bits = scores[i].x;
    if ((bits & 0x7f800000u) == 0x7f800000u) { bad++; continue; }
    let s = bitcast<f32>(bits);
    if (SIDE == 0u) { sum += max(1.0 - s, 0.0); }
    else if (SIDE == 1u) { sum += max(1.0 + s, 0.0); }
    else { sum -= s; }
  }
  sh_sum[lane] = sum;
  sh_bad[lane] = bad;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      sh_sum[lane] += sh_sum[lane + half];
      sh_bad[lane] += sh_bad[lane + half];
    }
  }
  if (lane == 0u) { y[0] = select(bitcast<u32>(sh_sum[0] * params.share), 0x7fc00000u, sh_bad[0] > 0u); }
}
