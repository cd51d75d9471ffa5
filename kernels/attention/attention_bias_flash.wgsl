// attention_bias_flash.wgsl — softmax(q·kᵀ + bias) · v, online, for GPUs
//
// Shapes    as in attention_bias_quad.wgsl
// Work      one workgroup per BQ queries of a head, as in attention_flash.wgsl: for every BK keys a thread computes 4 × 4
//           scores, the threads of a row find its maximum and sum, then a thread adds weights · v to 4 rows and every
//           TX-th vec4 column. k and v take turns in one buffer.
// Dispatch  (B · N · ceil(S/BQ), folded, 1)
// Cost      4·B·N·S²·D flops; compute bound
// Needs     D % 4 == 0; (BQ·D + BK·(D + 4) + BQ·(BK + 4) + 2·BQ) · 4 bytes of workgroup memory (src/ops/attention_bias.ts)
// Occupancy 2 waves a SIMD or more on RDNA 3 at D 128, 4 at D 64: k, v and q are 22 KB there for 64 threads, and fewer queries share them
//           no better. A prompt's few hundred tokens take it once.
// Numerics  f32 scores, weights, sums; masked keys by a finite sentinel
// After     Dao et al. 2022, arXiv:2205.14135; Raffel et al. 2020, arXiv:1910.10683 (the bias; no scaling)
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
const D4: u32 = 16u;
const BQ: u32 = 32u;
const BK: u32 = 32u;
//! end
struct Params { length: u32, heads: u32, tiles: u32, groups: u32 }
@group(0) @binding(1) var<storage, read> qkv: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Y>>;

const TX: u32 = BK / 4u;
const TY: u32 = BQ / 4u;
const WG: u32 = TX * TY;
const COLUMNS: u32 = (D4 + TX - 1u) / TX;
// Odd strides in vectors keep the rows of a tile on different banks.
const K_STRIDE: u32 = D4 + 1u;
const S_STRIDE: u32 = BK + 4u;
var<workgroup> sh_q: array<vec4<f32>, BQ * D4>;
var<workgroup> sh_kv: array<vec4<f32>, BK * K_STRIDE>;
var<workgroup> sh_s: array<f32, BQ * S_STRIDE>;
var<workgroup> sh_sum: array<f32, BQ>;
var<workgroup> sh_alpha: array<f32, BQ>;

const MASKED: f32 = -1e30;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let first = (group % params.tiles) * BQ;
  let head = (group / params.tiles) % params.heads;
  let first_row = (group / (params.tiles * params.heads)) * params.length;
  let width = params.heads * D4;
  let last = params.length - 1u;
  let bias_base = head * (2u * last + 1u) + last;
  let tx = lane % TX;
  let ty = lane / TX;

  for (var i = lane; i < BQ * D4; i += WG) {
    sh_q[i] = vec4<f32>(qkv[(first_row + min(first + i / D4, last)) * 3u * width + head * D4 + i % D4]);
  }
  // Thread t < BQ keeps the running maximum and sum of row t.
  var row_max = MASKED;
  var row_sum = 0.0;
  var acc: array<array<vec4<f32>, COLUMNS>, 4>;

  for (var key = 0u; key < params.length; key += BK) {
    workgroupBarrier();
    for (var i = lane; i < BK * D4; i += WG) {
      sh_kv[(i / D4) * K_STRIDE + i % D4] = vec4<f32>(qkv[((first_row + min(key + i / D4, last)) * 3u + 1u) * width + head * D4 + i % D4]);
    }
    workgroupBarrier();
    // Initialised explicitly: some WGSL compilers hoist the variable and clear it only once.
    var s = array<vec4<f32>, 4>();
    for (var d = 0u; d < D4; d++) {
      // Keys tx, tx + TX, … rather than neighbours: their rows lie on different banks.
      let k0 = sh_kv[tx * K_STRIDE + d];
      let k1 = sh_kv[(tx + TX) * K_STRIDE + d];
      let k2 = sh_kv[(tx + 2u * TX) * K_STRIDE + d];
      let k3 = sh_kv[(tx + 3u * TX) * K_STRIDE + d];
      for (var i = 0u; i < 4u; i++) {
        let a = sh_q[(ty * 4u + i) * D4 + d];
        s[i] += vec4<f32>(dot(a, k0), dot(a, k1), dot(a, k2), dot(a, k3));
      }
    }
    for (var i = 0u; i < 4u; i++) {
      let query = min(first + ty * 4u + i, last);
      for (var j = 0u; j < 4u; j++) {
        let n = tx + j * TX;
        sh_s[(ty * 4u + i) * S_STRIDE + n] = select(MASKED, s[i][j] + bias[bias_base + min(key + n, last) - query], key + n <= last);
      }
    }
    workgroupBarrier();
    // v is fetched while the rows' maxima are found: k is no longer needed.
    for (var i = lane; i < BK * D4; i += WG) {
      sh_kv[(i / D4) * K_STRIDE + i % D4] = vec4<f32>(qkv[((first_row + min(key + i / D4, last)) * 3u + 2u) * width + head * D4 + i % D4]);
    }
    if (lane < BQ) {
      var top = row_max;
      for (var n = 0u; n < BK; n++) { top = max(top, sh_s[lane * S_STRIDE + n]); }
      let alpha = exp(max(row_max - top, -80.0));
      var sum = 0.0;
      for (var n = 0u; n < BK; n++) {
        let p = select(0.0, exp(max(sh_s[lane * S_STRIDE + n] - top, -80.0)), key + n <= last);
        sh_s[lane * S_STRIDE + n] = p;
        sum += p;
      }
      row_sum = row_sum * alpha + sum;
      row_max = top;
      sh_alpha[lane] = alpha;
    }
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
      let alpha = sh_alpha[ty * 4u + i];
      for (var c = 0u; c < COLUMNS; c++) { acc[i][c] *= alpha; }
    }
    for (var n = 0u; n < BK; n++) {
      for (var c = 0u; c < COLUMNS; c++) {
        let value = sh_kv[n * K_STRIDE + min(tx + c * TX, D4 - 1u)];
        for (var i = 0u; i < 4u; i++) { acc[i][c] = fma(vec4<f32>(sh_s[(ty * 4u + i) * S_STRIDE + n]), value, acc[i][c]); }
      }
    }
  }

  if (lane < BQ) { sh_sum[lane] = row_sum; }
  workgroupBarrier();
  for (var i = 0u; i < 4u; i++) {
    let query = first + ty * 4u + i;
    for (var c = 0u; c < COLUMNS; c++) {
      let column = tx + c * TX;
      if (query <= last && column < D4) {
        y[(first_row + query) * width + head * D4 + column] = vec4<Y>(acc[i][c] / sh_sum[ty * 4u + i]);
      }
    }
  }
}
