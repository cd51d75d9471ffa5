// attention_flash.wgsl — softmax(scale · q·kᵀ) · v, online, for GPUs
//
// Shapes    q [N, Rq, D] · k, v [N, Rk, D] · y [Rq, N·D]
//           tiles: (first query, queries, first key, keys' end) of each workgroup
// Work      one workgroup per BQ queries of a head. For every BK keys: scores = q·kᵀ (a thread computes 4 × 4 of them), row
//           maxima and sums by the threads of a row, weights to workgroup memory, then sums += weights · v (a thread owns
//           4 rows and every TX-th vec4 column). k and v take turns in one buffer.
// Dispatch  (tiles · heads, folded, 1)
// Cost      4·Rq·Rk·D·N flops; compute bound
// Needs     D % 4 == 0; (BQ·D + BK·(D + 4) + BQ·(BK + 4) + 2·BQ) · 4 bytes of workgroup memory (src/ops/attention.ts)
// Numerics  f32 scores, weights, sums; masked keys by a finite sentinel; keys past a segment's end never count
// After     Dao et al. 2022, arXiv:2205.14135; Milakov & Gimelshein 2018, arXiv:1805.02867
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
const D4: u32 = 16u;
const BQ: u32 = 32u;
const BK: u32 = 32u;
//! end
struct Params { rows_q: u32, rows_k: u32, heads: u32, head_base: u32, heads_total: u32, tiles: u32, row_base: u32, scale: f32 }
@group(0) @binding(1) var<storage, read> q: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<X>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<X>>;
@group(0) @binding(4) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Y>>;

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
var<workgroup> sh_inverse: array<f32, BQ>;
var<workgroup> sh_alpha: array<f32, BQ>;

const MASKED: f32 = -1e30;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles * params.heads) { return; }
  let head = group / params.tiles;
  let tile = tiles[group % params.tiles];
  let last = tile.x + tile.y - 1u;
  let tx = lane % TX;
  let ty = lane / TX;

  for (var i = lane; i < BQ * D4; i += WG) {
    sh_q[i] = vec4<f32>(q[(head * params.rows_q + min(tile.x + i / D4, last)) * D4 + i % D4]) * params.scale;
  }
  // Thread t < BQ keeps the running maximum and sum of row t.
  var row_max = MASKED;
  var row_sum = 0.0;
  var acc: array<array<vec4<f32>, COLUMNS>, 4>;

  for (var key = tile.z; key < tile.w; key += BK) {
    workgroupBarrier();
    for (var i = lane; i < BK * D4; i += WG) {
      sh_kv[(i / D4) * K_STRIDE + i % D4] = vec4<f32>(k[(head * params.rows_k + min(key + i / D4, tile.w - 1u)) * D4 + i % D4]);
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
      for (var j = 0u; j < 4u; j++) {
        let n = tx + j * TX;
        sh_s[(ty * 4u + i) * S_STRIDE + n] = select(MASKED, s[i][j], key + n < tile.w);
      }
    }
    workgroupBarrier();
    // v is fetched while the rows' maxima are found: k is no longer needed.
    for (var i = lane; i < BK * D4; i += WG) {
      sh_kv[(i / D4) * K_STRIDE + i % D4] = vec4<f32>(v[(head * params.rows_k + min(key + i / D4, tile.w - 1u)) * D4 + i % D4]);
    }
    if (lane < BQ) {
      var top = row_max;
      for (var n = 0u; n < BK; n++) { top = max(top, sh_s[lane * S_STRIDE + n]); }
      let alpha = exp(max(row_max - top, -80.0)) * select(1.0, 0.0, row_max == MASKED);
      var sum = 0.0;
      for (var n = 0u; n < BK; n++) {
        let p = select(0.0, exp(max(sh_s[lane * S_STRIDE + n] - top, -80.0)), key + n < tile.w);
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

  workgroupBarrier();
  if (lane < BQ) { sh_inverse[lane] = 1.0 / row_sum; }
  workgroupBarrier();
  for (var i = 0u; i < 4u; i++) {
    let row = tile.x + ty * 4u + i;
    for (var c = 0u; c < COLUMNS; c++) {
      let column = tx + c * TX;
      if (row <= last && column < D4) {
        y[((row - params.row_base) * params.heads_total + params.head_base + head) * D4 + column] = vec4<Y>(acc[i][c] * sh_inverse[ty * 4u + i]);
      }
    }
  }
}
