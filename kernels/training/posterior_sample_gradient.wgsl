// posterior_sample_gradient.wgsl — what z = μ + σ · noise sends back: dμ = dz, d log σ² = dz · ½ σ · noise, 0 where it is clamped
//
// Shapes    moments, dmoments [positions, Mp]: Z means, then Z log-variances, then padding, which gets 0 · noise, dz [positions, Zp]
// Work      one thread a value of dmoments
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      bandwidth bound; small
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias M = f32;
alias G = f32;
//! end
override WG: u32 = 64;
// count: values of moments · width, padded: a row of z and of moments
struct Params { count: u32, z: u32, width: u32, padded: u32 }
@group(0) @binding(1) var<storage, read> moments: array<M>;
@group(0) @binding(2) var<storage, read> noise: array<f32>;
@group(0) @binding(3) var<storage, read> dz: array<G>;
@group(0) @binding(4) var<storage, read_write> dmoments: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * WG + lane;
  if (i >= params.count) { return; }
  let c = i % params.padded;
  let at = i / params.padded * params.width + c % params.z;
  var value = 0.0;
  if (c < params.z) {
    value = f32(dz[at]);
  } else if (c < 2u * params.z) {
    let given = f32(moments[i]);
    if (given >= -30.0 && given <= 20.0) { value = 0.5 * f32(dz[at]) * exp(0.5 * given) * noise[at]; }
  }
  dmoments[i] = value;
}
