// scheduler_step.wgsl — guidance and one step of a sampler that is linear in its inputs (DDIM, DPM-Solver++ 2M SDE)
//
//   v        = uncond + guidance · (cond − uncond)
//   original = from_sample · sample + from_prediction · v
//   next     = keep · sample + step · original + old_step · old + noise_step · noise
//
// Shapes    sample, old, noise, original, next [n] · uncond, cond [n], halves of one prediction
//           coefficients [8]: guidance, from_sample, from_prediction, keep, step, old_step, noise_step, 0
// Work      one thread per value
// Dispatch  (ceil(n / 64), folded, 1)
// Cost      reads 2 to 5 values, writes 2; bandwidth bound
// Numerics  f32 for every storage type of the prediction; coefficients come from float64, infinities resolved
//           (src/diffusion/)
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias P = f32;
const GUIDANCE: bool = false;
const OLD: bool = false;
const NOISE: bool = false;
//! end
struct Params { count: u32, cond_offset: u32 }
@group(0) @binding(1) var<storage, read> sample: array<f32>;
@group(0) @binding(2) var<storage, read> uncond: array<P>;
@group(0) @binding(3) var<storage, read> cond: array<P>;
@group(0) @binding(4) var<storage, read> old: array<f32>;
@group(0) @binding(5) var<storage, read> noise: array<f32>;
@group(0) @binding(6) var<storage, read> coefficients: array<f32>;
@group(0) @binding(7) var<storage, read_write> next: array<f32>;
@group(0) @binding(8) var<storage, read_write> original: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count) { return; }
  var v = f32(uncond[i]);
  if (GUIDANCE) { v += coefficients[0] * (f32(cond[params.cond_offset + i]) - v); }
  let x = sample[i];
  let x0 = coefficients[1] * x + coefficients[2] * v;
  var y = coefficients[3] * x + coefficients[4] * x0;
  if (OLD) { y += coefficients[5] * old[i]; }
  if (NOISE) { y += coefficients[6] * noise[i]; }
  original[i] = x0;
  next[i] = y;
}
