// group_norm_merge.wgsl — slices of statistics → mean and reciprocal deviation of every channel's group
//
// Shapes    stats [B, S, 3, Cp] as group_norm_stats leaves them, from any number of slices of any size
//           norm [B, 2, Cp]: mean, 1/√(variance + eps) of the channel's group; zeros for the padded channels
// Work      one workgroup per batch entry × group; lanes stride over its slices × channels, tree sums in sh_sum
// Dispatch  (groups, B, 1)
// Cost      reads the statistics twice
// Numerics  exact merge in two passes, first the mean, then the deviations from it; f32
// After     Chan, Golub & LeVeque 1983
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
override WG: u32 = 64;
// channels: without padding · group: channels of one group · padded: Cp
struct Params { slices: u32, channels: u32, group: u32, padded: u32, eps: f32 }
@group(0) @binding(1) var<storage, read> stats: array<f32>;
@group(0) @binding(2) var<storage, read_write> norm: array<f32>;

var<workgroup> sh_sum: array<vec2<f32>, WG>;

fn total(lane: u32, v: vec2<f32>) -> vec2<f32> {
  workgroupBarrier();
  sh_sum[lane] = v;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { sh_sum[lane] += sh_sum[lane + half]; }
  }
  workgroupBarrier();
  return sh_sum[0];
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = wid.x * params.group;
  let batch = wid.y * params.slices * 3u * params.padded + first;
  let entries = params.slices * params.group;

  var sums = vec2<f32>();
  for (var i = lane; i < entries; i += WG) {
    let at = batch + i / params.group * 3u * params.padded + i % params.group;
    let n = stats[at];
    sums += vec2<f32>(n, n * stats[at + params.padded]);
  }
  sums = total(lane, sums);
  let mean = sums.y / sums.x;
  var deviation = vec2<f32>();
  for (var i = lane; i < entries; i += WG) {
    let at = batch + i / params.group * 3u * params.padded + i % params.group;
    let d = stats[at + params.padded] - mean;
    deviation += vec2<f32>(stats[at + 2u * params.padded], stats[at] * d * d);
  }
  deviation = total(lane, deviation);
  let rstd = inverseSqrt((deviation.x + deviation.y) / sums.x + params.eps);

  let out = wid.y * 2u * params.padded;
  for (var i = lane; i < params.group; i += WG) {
    norm[out + first + i] = mean;
    norm[out + params.padded + first + i] = rstd;
  }
  if (wid.x == 0u) {
    for (var i = params.channels + lane; i < params.padded; i += WG) {
      norm[out + i] = 0.0;
      norm[out + params.padded + i] = 0.0;
    }
  }
}
