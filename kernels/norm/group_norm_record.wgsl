// group_norm_record.wgsl — slices of statistics → one record of all of them, channel by channel
//
// Shapes    stats [B, S, 3, C] f32 as group_norm_stats leaves them: count, mean, Σ(x − mean)² · record [B, 1, 3, C], the same of all slices
// Work      one workgroup per batch entry × 4 channels; lanes stride over the slices, tree sums in sh_sum
// Dispatch  (C/4, B, 1)
// Cost      reads the statistics twice
// Needs     C % 4 == 0
// Numerics  exact merge in two passes, first the mean, then the deviations from it; f32
// After     Chan, Golub & LeVeque 1983
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
override WG: u32 = 64;
struct Params { slices: u32, c4: u32 }
@group(0) @binding(1) var<storage, read> stats: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> record: array<vec4<f32>>;

var<workgroup> sh_sum: array<vec4<f32>, WG>;
var<workgroup> sh_count: array<f32, WG>;

fn total(lane: u32, v: vec4<f32>, n: f32) -> vec4<f32> {
  workgroupBarrier();
  sh_sum[lane] = v;
  sh_count[lane] = n;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      sh_sum[lane] += sh_sum[lane + half];
      sh_count[lane] += sh_count[lane + half];
    }
  }
  workgroupBarrier();
  return sh_sum[0];
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let step = params.c4;
  let first = wid.y * params.slices * 3u * step + wid.x;

  var sum = vec4<f32>();
  var n = 0.0;
  for (var i = lane; i < params.slices; i += WG) {
    let at = first + i * 3u * step;
    let count = stats[at].x; // of all channels alike
    n += count;
    sum += count * stats[at + step];
  }
  sum = total(lane, sum, n);
  let count = sh_count[0];
  let mean = sum / count;
  var deviation = vec4<f32>();
  for (var i = lane; i < params.slices; i += WG) {
    let at = first + i * 3u * step;
    let d = stats[at + step] - mean;
    deviation += stats[at + 2u * step] + stats[at].x * d * d;
  }
  deviation = total(lane, deviation, 0.0);

  if (lane == 0u) {
    let out = wid.y * 3u * step + wid.x;
    record[out] = vec4<f32>(count);
    record[out + step] = mean;
    record[out + 2u * step] = deviation;
  }
}
