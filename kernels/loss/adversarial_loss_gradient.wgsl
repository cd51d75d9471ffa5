// adversarial_loss_gradient.wgsl — what adversarial_loss gives back to each score
//
// Shapes    scores, dx [R] vectors, the score in the first of four, zeros in the others of dx · dy [1]
// Work      one lane per score
// Dispatch  (ceil(count / 64), folded, 1)
// Cost      reads the scores once, writes dx once
// Numerics  f32; NaN for a score that is not finite (adversarial_loss)
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const SIDE: u32 = 0; // 0: real · 1: made, for the discriminator · 2: made, for the generator
//! end
struct Params { count: u32, share: f32 }
@group(0) @binding(1) var<storage, read> scores: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count) { return; }
  let bits = scores[i].x;
  let s = bitcast<f32>(bits);
  var slope = -1.0;
  if (SIDE == 0u) { slope = select(0.0, -1.0, s < 1.0); }
  if (SIDE == 1u) { slope = select(0.0, 1.0, s > -1.0); }
  let finite = (bits & 0x7f800000u) != 0x7f800000u;
  dx[i] = vec4<u32>(select(0x7fc00000u, bitcast<u32>(slope * dy[0] * params.share), finite), 0u, 0u, 0u);
}
