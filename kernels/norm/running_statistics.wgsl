// running_statistics.wgsl — a batch norm's running mean and variance, moved towards a batch's
//
// Shapes    stats [S, 3, Cp] as group_norm_stats leaves them · mean, variance, next_mean, next_variance [C]
// Work      one lane per channel, slices in order: merged exactly (Chan et al.), the variance over one position fewer than there are
// Dispatch  (ceil(C / WG), 1, 1)
// Cost      reads the statistics once
// Numerics  f32; of a single position there is no variance, and the running one stays
//           where the batch's are not finite both stay: a step that is not taken would spoil them for good
//           exponents are tested by their bits, since WGSL may assume that neither NaN nor infinity exists
// After     Ioffe & Szegedy 2015, arXiv:1502.03167
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
override WG: u32 = 64;
struct Params { slices: u32, channels: u32, padded: u32, momentum: f32 }
@group(0) @binding(1) var<storage, read> stats: array<u32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read_write> next_mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> next_variance: array<f32>;

fn finite(bits: u32) -> bool { return (bits & 0x7f800000u) != 0x7f800000u; }

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  if (c >= params.channels) { return; }
  var n = 0.0;
  var m = 0.0;
  var m2 = 0.0;
  var whole = true;
  for (var s = 0u; s < params.slices; s++) {
    let at = s * 3u * params.padded + c;
    let own = vec3<u32>(stats[at], stats[at + params.padded], stats[at + 2u * params.padded]);
    if (!finite(own.x) || !finite(own.y) || !finite(own.z)) { whole = false; break; }
    let values = bitcast<vec3<f32>>(own);
    let count = values.x;
    let delta = values.y - m;
    let share = count / (n + count);
    m += delta * share;
    m2 += values.z + delta * delta * (n * share);
    n += count;
  }
  // Finite statistics may have a sum that is none.
  whole = whole && finite(bitcast<u32>(m)) && finite(bitcast<u32>(m2));
  let v = variance[c];
  next_mean[c] = select(mean[c], mean[c] + params.momentum * (m - mean[c]), whole);
  next_variance[c] = select(v, v + params.momentum * (m2 / max(n - 1.0, 1.0) - v), whole && n > 1.0);
}
