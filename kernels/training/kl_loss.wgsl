// kl_loss.wgsl — how far Gaussians are from the standard one, summed over each row in chunks, and the gradient
//
//   part = share · Σ ½ (μ² + σ² − 1 − log σ²);  gradient of μ: slope · μ, of log σ²: slope · ½ (σ² − 1), 0 where it is clamped
//
// Shapes    moments, gradient [R, positions, Mp]: Z means, then Z log-variances, then padding, which gets 0 · settings [2]: share, slope
//           parts [chunks, all R]
// Work      one workgroup a chunk of a row's values of z; threads stride over them, then a tree
// Dispatch  (R · chunks, folded, 1)
// Cost      reads one tensor, writes one; small
// Numerics  f32; log-variances are clamped to −30…20
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias M = f32;
//! end
const WG = 64u;
// rows: bound, from the `first` of all on · values: of z in a row · chunk: of a chunk
struct Params { rows: u32, values: u32, chunk: u32, chunks: u32, z: u32, padded: u32, first: u32, all: u32 }
@group(0) @binding(1) var<storage, read> moments: array<M>;
@group(0) @binding(2) var<storage, read> settings: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> parts: array<f32>;

var<workgroup> sh_sum: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = wid.y * groups.x + wid.x;
  if (id >= params.rows * params.chunks) { return; }
  let row = id / params.chunks;
  let chunk = id % params.chunks;
  let end = min((chunk + 1u) * params.chunk, params.values);
  var sum = 0.0;
  for (var i = chunk * params.chunk + lane; i < end; i += WG) {
    let c = i % params.z;
    let position = (row * (params.values / params.z) + i / params.z) * params.padded;
    let mean = f32(moments[position + c]);
    let given = f32(moments[position + params.z + c]);
    let logvar = clamp(given, -30.0, 20.0);
    let variance = exp(logvar);
    gradient[position + c] = settings[1] * mean;
    gradient[position + params.z + c] = select(0.0, settings[1] * 0.5 * (variance - 1.0), given == logvar);
    sum += 0.5 * (mean * mean + (variance - 1.0 - logvar));
    if (c == 0u) {
      for (var p = 2u * params.z; p < params.padded; p++) { gradient[position + p] = 0.0; }
    }
  }
  sh_sum[lane] = sum;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { sh_sum[lane] += sh_sum[lane + half]; }
    workgroupBarrier();
  }
  if (lane == 0u) { parts[chunk * params.all + params.first + row] = sh_sum[0] * settings[0]; }
}
