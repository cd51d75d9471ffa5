// posterior_sample.wgsl — z = μ + σ · noise, of moments with log σ² clamped to −30…20
//
// Shapes    moments [positions, Mp]: Z means, then Z log-variances, then padding · noise, z [positions, Zp]; z is 0 where it pads
// Work      one thread a value of z
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      bandwidth bound; small
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias M = f32;
//! end
override WG: u32 = 64;
// count: values of z · width, padded: a row of z and of moments
struct Params { count: u32, z: u32, width: u32, padded: u32 }
@group(0) @binding(1) var<storage, read> moments: array<M>;
@group(0) @binding(2) var<storage, read> noise: array<f32>;
@group(0) @binding(3) var<storage, read_write> z: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * WG + lane;
  if (i >= params.count) { return; }
  let c = i % params.width;
  let at = i / params.width * params.padded + c;
  var value = 0.0;
  if (c < params.z) { value = f32(moments[at]) + exp(0.5 * clamp(f32(moments[at + params.z]), -30.0, 20.0)) * noise[i]; }
  z[i] = value;
}
