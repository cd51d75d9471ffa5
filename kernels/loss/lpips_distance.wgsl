// lpips_distance.wgsl — how far two pictures' features are apart: Σ_c w_c (a_c/(|a| + ε) − b_c/(|b| + ε))², the mean over positions
//
// Shapes    a, b [N, P, C] · w [C] · before [N] · part [S, N]: the sums of chunks of positions, over P
//           inverse [N, P]: 1/(|a| + ε) and 1/(|b| + ε), which the gradients read
// Work      a workgroup has a chunk of one picture's positions. LANES lanes share a position's channels (one on a CPU adapter, which
//           pays for every barrier), so WG / LANES positions are computed at once; in the end a tree over the lanes.
// Dispatch  (chunks, folded, 1)
// Cost      reads a and b twice, the second time from a cache
// Needs     C % 4 == 0, zeros in padded channels · WG a multiple of LANES, both powers of two
// Numerics  f32; ε is added to the norm, as in the package lpips
// After     Zhang et al. 2018, arXiv:1801.03924
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias A = f32;
const LANES: u32 = 16;
const BEFORE: bool = false;
//! end
const WG: u32 = 64;
const EPS: f32 = 1e-10;
// count: chunks of this dispatch, from the `first` on · chunk: positions of one · per_picture: chunks of one · share: 1/P
struct Params {
  count: u32, first: u32, chunk: u32, per_picture: u32, positions: u32, pictures: u32, c4: u32, a_base: u32, b_base: u32, share: f32,
}
@group(0) @binding(1) var<storage, read> a: array<vec4<A>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<A>>;
@group(0) @binding(3) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> before: array<f32>;
@group(0) @binding(5) var<storage, read_write> inverse: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> part: array<f32>;

var<workgroup> sh_norm: array<vec2<f32>, WG>;
var<workgroup> sh_sum: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let here = wid.y * groups.x + wid.x;
  if (here >= params.count) { return; }
  let chunk = params.first + here;
  let picture = chunk / params.per_picture;
  let begin = chunk % params.per_picture * params.chunk;
  let end = min(begin + params.chunk, params.positions);
  let own = lane % LANES;
  var sum = 0.0;
  for (var base = begin; base < end; base += WG / LANES) {
    let position = base + lane / LANES;
    let row = picture * params.positions + position;
    let a_at = params.a_base + row * params.c4;
    let b_at = params.b_base + row * params.c4;
    var norm = vec2<f32>();
    if (position < end) {
      for (var c = own; c < params.c4; c += LANES) {
        let va = vec4<f32>(a[a_at + c]);
        let vb = vec4<f32>(b[b_at + c]);
        norm += vec2<f32>(dot(va, va), dot(vb, vb));
      }
    }
    if (LANES > 1u) {
      workgroupBarrier();
      sh_norm[lane] = norm;
      for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (own < half) { sh_norm[lane] += sh_norm[lane + half]; }
      }
      workgroupBarrier();
      norm = sh_norm[lane - own];
    }
    let inv = 1.0 / (sqrt(norm) + EPS);
    if (position < end) {
      for (var c = own; c < params.c4; c += LANES) {
        let d = vec4<f32>(a[a_at + c]) * inv.x - vec4<f32>(b[b_at + c]) * inv.y;
        sum += dot(w[c], d * d);
      }
      if (own == 0u) { inverse[row] = inv; }
    }
  }
  sh_sum[lane] = sum;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { sh_sum[lane] += sh_sum[lane + half]; }
  }
  if (lane == 0u) {
    var total = sh_sum[0] * params.share;
    if (BEFORE && begin == 0u) { total += before[picture]; }
    part[chunk % params.per_picture * params.pictures + picture] = total;
  }
}
