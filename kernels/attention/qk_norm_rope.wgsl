// qk_norm_rope.wgsl — normalise queries and keys per head, then rotate them
//
// Shapes    q, k [N, R, D], IN_PLACE overwritten, else made of q_from, k_from · norm_q, norm_k: weight then bias, [2, D]; RMS: weight, [D]
//           rope [P, D]: (cos, sin) of each pair of channels · position [R]: the token's row of rope; text tokens point at a
//           row of (1, 0), which rotates nothing
// Work      one lane holds one vec4 of one (head, token) of q and of k; the D/4 lanes of a head share their sums in workgroup memory.
//           In place, for it writes only what it alone reads: the projection by head is not needed again, and values are not touched.
// Dispatch  (ceil(N·R / PER), folded, 1); for windows of heads
// Cost      reads and writes q and k once; bandwidth bound
// Numerics  f32; two-pass variance. LayerNorm (RMS: RMSNorm) over the head, eps 1e-6 in every published config
// After     rotary embedding, Su et al. 2021, arXiv:2104.09864, over (frame, row, column): axes share the head's channels
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const PER: u32 = 4u;
//! end
//! part shared/qk_norm_rope.wgsl
//! specialise
alias X = f32;
const D4: u32 = 16u;
const NORM: bool = true;
const ROPE: bool = true;
const RMS: bool = false;
const IN_PLACE: bool = true;
//! end
struct Params { rows: u32, count: u32, eps: f32 }
@group(0) @binding(1) var<storage, read> q_from: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> k_from: array<vec4<X>>;
@group(0) @binding(3) var<storage, read> norm_q: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> norm_k: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> rope: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> position: array<u32>;
@group(0) @binding(7) var<storage, read_write> q: array<vec4<X>>;
@group(0) @binding(8) var<storage, read_write> k: array<vec4<X>>;

const D: f32 = f32(D4 * 4u);

// Two pairs of channels, turned by their angles: cs has (cos, sin) of each.
fn rotate(a: vec4<f32>, cs: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(a.x * cs.x - a.y * cs.y, a.y * cs.x + a.x * cs.y, a.z * cs.z - a.w * cs.w, a.w * cs.z + a.z * cs.w);
}
//! part ends

const WG: u32 = D4 * PER;
// Sums for q and k travel together.
//! part shared/head_sum.wgsl
var<workgroup> sh_sum: array<vec2<f32>, WG>;

fn head_sum(value: vec2<f32>, lane: u32) -> vec2<f32> {
  workgroupBarrier();
  sh_sum[lane] = value;
  workgroupBarrier();
  var total = vec2<f32>();
  let first = (lane / D4) * D4;
  for (var i = 0u; i < D4; i++) { total += sh_sum[first + i]; }
  return total;
}
//! part ends

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let item = (wid.y * groups.x + wid.x) * PER + lane / D4;
  let c = lane % D4;
  // Past the end the last once more, for the barriers; nothing is stored of it.
  let at = min(item, params.count - 1u) * D4 + c;
  var a: vec4<f32>;
  var b: vec4<f32>;
  if (IN_PLACE) {
    a = vec4<f32>(q[at]);
    b = vec4<f32>(k[at]);
  } else {
    a = vec4<f32>(q_from[at]);
    b = vec4<f32>(k_from[at]);
  }
  if (NORM) {
    if (!RMS) {
      let one = vec4<f32>(1.0);
      let mean = head_sum(vec2<f32>(dot(a, one), dot(b, one)), lane) / D;
      a -= mean.x;
      b -= mean.y;
    }
    let variance = head_sum(vec2<f32>(dot(a, a), dot(b, b)), lane) / D;
    let rstd = 1.0 / sqrt(variance + params.eps);
    if (RMS) {
      a = a * rstd.x * norm_q[c];
      b = b * rstd.y * norm_k[c];
    } else {
      a = a * rstd.x * norm_q[c] + norm_q[D4 + c];
      b = b * rstd.y * norm_k[c] + norm_k[D4 + c];
    }
  }
  if (ROPE) {
    let cs = rope[position[min(item, params.count - 1u) % params.rows] * D4 + c];
    a = rotate(a, cs);
    b = rotate(b, cs);
  }
  if (item >= params.count) { return; }
  q[at] = vec4<X>(a);
  k[at] = vec4<X>(b);
}
