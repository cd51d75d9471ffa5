// group_norm_stats.wgsl — count, mean and sum of squared deviations of every channel, slice by slice
//
// Shapes    x [frames, P, C], those of all batch entries · stats [frames, S, 3, C] f32: count, mean, Σ(x − mean)² of `run` positions
//           of a frame, fewer in its last slice
// Work      one lane per slice × 4 channels; 8 positions at a time: their own mean and deviations, then an exact merge
//           (Chan et al.) into the lane's. Per channel, so that groups of any width are formed afterwards (group_norm_merge).
// Dispatch  (ceil(slices · C/4 / WG), folded, 1)
// Cost      reads x once; bandwidth bound
// Needs     C % 4 == 0 (channels padded with zeros)
// Numerics  f32; never a difference of large sums
// After     Chan, Golub & LeVeque 1983
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
override WG: u32 = 64;
// slices of this dispatch, from the `first` of all frames · per_frame on · plane: positions of a frame
struct Params { slices: u32, first: u32, per_frame: u32, plane: u32, run: u32, c4: u32, x_base: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.slices * params.c4) { return; }
  let slice = params.first + id / params.c4;
  let column = id % params.c4;
  let start = (slice % params.per_frame) * params.run;
  let end = min(start + params.run, params.plane);
  let step = params.c4;
  var at = params.x_base + (slice / params.per_frame * params.plane + start) * step + column;

  var n = 0.0;
  var mean = vec4<f32>();
  var m2 = vec4<f32>();
  var p = start;
  for (; p + 8u <= end; p += 8u) {
    let v0 = vec4<f32>(x[at]);
    let v1 = vec4<f32>(x[at + step]);
    let v2 = vec4<f32>(x[at + 2u * step]);
    let v3 = vec4<f32>(x[at + 3u * step]);
    let v4 = vec4<f32>(x[at + 4u * step]);
    let v5 = vec4<f32>(x[at + 5u * step]);
    let v6 = vec4<f32>(x[at + 6u * step]);
    let v7 = vec4<f32>(x[at + 7u * step]);
    at += 8u * step;
    let center = 0.125 * (((v0 + v1) + (v2 + v3)) + ((v4 + v5) + (v6 + v7)));
    let d0 = v0 - center;
    let d1 = v1 - center;
    let d2 = v2 - center;
    let d3 = v3 - center;
    let d4 = v4 - center;
    let d5 = v5 - center;
    let d6 = v6 - center;
    let d7 = v7 - center;
    let deviation = ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) + ((d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7));
    let share = 8.0 / (n + 8.0);
    let delta = center - mean;
    mean += delta * share;
    m2 += deviation + delta * delta * (n * share);
    n += 8.0;
  }
  for (; p < end; p++) {
    let delta = vec4<f32>(x[at]) - mean;
    at += step;
    n += 1.0;
    mean += delta / n;
    m2 += delta * delta * ((n - 1.0) / n);
  }
  let out = slice * 3u * step + column;
  stats[out] = vec4<f32>(n);
  stats[out + step] = mean;
  stats[out + 2u * step] = m2;
}
