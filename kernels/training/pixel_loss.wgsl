// pixel_loss.wgsl — the sums of absolute and of squared differences of each row, in chunks, and the gradient of both by their weights
//
//   d = prediction − target;  parts = share · Σ |d|, share · Σ d²;  gradient = slopes[0] · sign(d) + 2 · slopes[1] · d, sign(0) = 0
//
// Shapes    prediction, target, gradient [R, C] in vectors of 4 · settings [3]: share, slopes · parts [chunks, 2, all R]
// Work      one workgroup a chunk of a row; threads stride over its vectors, then a tree
// Dispatch  (R · chunks, folded, 1)
// Cost      reads two tensors, writes one; bandwidth bound
// Needs     C % 4 == 0 (checked in src/ops/pixel_loss.ts)
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias P = f32;
//! end
const WG = 64u;
// rows: bound, from the `first` of all on · width4: vectors of a row · chunk4: of a chunk
struct Params { rows: u32, width4: u32, chunk4: u32, chunks: u32, first: u32, all: u32 }
@group(0) @binding(1) var<storage, read> prediction: array<vec4<P>>;
@group(0) @binding(2) var<storage, read> goal: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> settings: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradient: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> parts: array<f32>;

var<workgroup> sh_sum: array<vec2<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = wid.y * groups.x + wid.x;
  if (id >= params.rows * params.chunks) { return; }
  let row = id / params.chunks;
  let chunk = id % params.chunks;
  let end = min((chunk + 1u) * params.chunk4, params.width4);
  var sum = vec4<f32>();
  var squares = vec4<f32>();
  for (var i = chunk * params.chunk4 + lane; i < end; i += WG) {
    let at = row * params.width4 + i;
    let d = vec4<f32>(prediction[at]) - goal[at];
    gradient[at] = settings[1] * sign(d) + 2.0 * settings[2] * d;
    sum += abs(d);
    squares += d * d;
  }
  sh_sum[lane] = vec2<f32>((sum.x + sum.y) + (sum.z + sum.w), (squares.x + squares.y) + (squares.z + squares.w));
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { sh_sum[lane] += sh_sum[lane + half]; }
    workgroupBarrier();
  }
  if (lane == 0u) {
    let to = chunk * 2u * params.all + params.first + row;
    parts[to] = sh_sum[0].x * settings[0];
    parts[to + params.all] = sh_sum[0].y * settings[0];
  }
}
