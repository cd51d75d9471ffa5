// attention_flash.wgsl — softmax(scale · q·kᵀ + bias) · v, online, for GPUs
//
// Shapes    q [N, Rq, D] · k, v [N, Rk, D] · y [Rq, N·D]
//           tiles: (first query, queries, first key, keys' end) of each workgroup
//           BIAS: bias [N, 2L − 1] by key − query + L − 1, both counted from their segment's first, L the longest segment's length;
//           tiles goes on with as many (segment's first query, 0, 0, 0)
//           LSE: lse [N, Rq], log Σ exp(score) of a query
// Work      one workgroup per BQ queries of a head; a thread owns 4 queries, TY apart. For every BK keys: scores = q·kᵀ, 4 × 4 of them
//           a thread; the row's maximum over its TX threads; weights to workgroup memory; then sums += weights · v, 4 rows × every
//           TX-th vec4 column a thread. k and v take turns in one buffer. Sums of weights stay apart until the end.
// Dispatch  (tiles · heads, folded, 1)
// Cost      4·Rq·Rk·D·N flops, BQ/2 a byte of k and v in f32; compute bound
// Registers 16 scores, 4·D/TX sums, 36 to 48 of operands: 108 on RDNA 3 at D 64
// Memory    37 KB at D 64, 64 × 32: q (17 KB) stays, and 128 threads share it
// Occupancy 4 waves a SIMD or more on RDNA 3: three workgroups of D 64 fit its 128 KB; with half the queries or twice the threads 8 waves
//           fit, and each loads half as much again from workgroup memory for a multiply-add (12 instead of 8 loads of 16 bytes for 64),
//           which is then what bounds the kernel. At D 128 in 16 KB, 128 sums a thread leave registers for 6 waves.
// Banks     Rows have an odd number of vectors, so that the 8 rows of a wave's threads meet all 32 banks. Row r of the buffer holds
//           key 4·(r mod TX) + r/TX: a thread's scores are neighbours' then, one vector to store, and yet its rows of k are TX apart.
// Needs     D % 4 == 0; (BQ + BK)·(D + 4) + BQ·(BK + 4) + BQ·BK/4 words of workgroup memory (src/ops/attention.ts)
// Numerics  f32 scores, weights, sums; masked keys by a finite sentinel, their weight 2^-126 of the largest or less
// After     Dao et al. 2022, arXiv:2205.14135; Milakov & Gimelshein 2018, arXiv:1805.02867
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
const D4: u32 = 16u;
const BQ: u32 = 64u;
const BK: u32 = 32u;
//! end
@group(0) @binding(1) var<storage, read> q: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<X>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<X>>;
//! part shared/attention.wgsl
// d4: vectors of a row of a head · rows_q, rows_k: of a head · heads: bound ones, from head_base on of heads_total · tiles: of the list
// row_base: query that y begins with · longest: positions of the longest segment
struct Params {
  d4: u32, rows_q: u32, rows_k: u32, heads: u32, head_base: u32, heads_total: u32,
  tiles: u32, row_base: u32, scale: f32, longest: u32,
}
@group(0) @binding(4) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<Y>>;
// LSE: logarithms of the sums of exp(score), for gradients, [N, Rq] of all heads
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;
//! specialise
alias Y = f32;
const BIAS: bool = false;
const LSE: bool = false;
//! end

const MASKED: f32 = -1e30;
//! part ends
const LOG2_E: f32 = 1.4426950408889634;
const LN_2: f32 = 0.6931471805599453;

const TX: u32 = BK / 4u;
const TY: u32 = BQ / 4u;
const WG: u32 = TX * TY;
const COLUMNS: u32 = (D4 + TX - 1u) / TX;
const STRIDE: u32 = D4 + 1u;
const S_STRIDE: u32 = TX + 1u;
const LOADS: u32 = (BK * D4 + WG - 1u) / WG;
var<workgroup> sh_q: array<vec4<f32>, BQ * STRIDE>;
var<workgroup> sh_kv: array<vec4<f32>, BK * STRIDE>;
var<workgroup> sh_s: array<vec4<f32>, BQ * S_STRIDE>;
var<workgroup> sh_row: array<f32, BQ * TX>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  //! part shared/attention_tile.wgsl
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles * params.heads) { return; }
  let head = group / params.tiles;
  let tile = tiles[group % params.tiles];
  // A list may have room for more tiles than there are.
  if (tile.y == 0u) { return; }
  // The bias of a key and a query is at this + key − query; it may wrap below zero, and comes back. What is read for a key or query
  // that does not count is not used.
  var bias_base = 0u;
  if (BIAS) {
    bias_base = (params.head_base + head) * (2u * params.longest - 1u) + params.longest - 1u
      + tiles[params.tiles + group % params.tiles].x - tile.z;
  }
  //! part ends
  let last = tile.x + tile.y - 1u;
  let tx = lane % TX;
  let ty = lane / TX;

  // Scores in powers of two: the exponential is then one instruction.
  for (var i = lane; i < BQ * D4; i += WG) {
    sh_q[i / D4 * STRIDE + i % D4] =
      vec4<f32>(q[(head * params.rows_q + min(tile.x + i / D4, last)) * D4 + i % D4]) * (params.scale * LOG2_E);
  }
  var row_max = array<f32, 4>(MASKED, MASKED, MASKED, MASKED);
  var row_sum: array<f32, 4>;
  var acc: array<array<vec4<f32>, COLUMNS>, 4>;

  for (var key = tile.z; key < tile.w; key += BK) {
    for (var i = 0u; i < LOADS; i++) {
      // Never so, which compilers cannot know: where they unroll this many loads, the registers do not suffice.
      if (LOADS > 16u && params.rows_k == 0u) { break; }
      let at = lane + i * WG;
      let n = at / D4;
      if (BK * D4 % WG == 0u || at < BK * D4) {
        sh_kv[(n / 4u + n % 4u * TX) * STRIDE + at % D4] = vec4<f32>(k[(head * params.rows_k + min(key + n, tile.w - 1u)) * D4 + at % D4]);
      }
    }
    workgroupBarrier();
    // Initialised explicitly: some WGSL compilers hoist the variable and clear it only once.
    var s = array<vec4<f32>, 4>();
    for (var d = 0u; d < D4; d++) {
      let k0 = sh_kv[tx * STRIDE + d];
      let k1 = sh_kv[(tx + TX) * STRIDE + d];
      let k2 = sh_kv[(tx + 2u * TX) * STRIDE + d];
      let k3 = sh_kv[(tx + 3u * TX) * STRIDE + d];
      for (var i = 0u; i < 4u; i++) {
        let a = sh_q[(ty + i * TY) * STRIDE + d];
        s[i] = fma(vec4<f32>(a.x), vec4<f32>(k0.x, k1.x, k2.x, k3.x), s[i]);
        s[i] = fma(vec4<f32>(a.y), vec4<f32>(k0.y, k1.y, k2.y, k3.y), s[i]);
        s[i] = fma(vec4<f32>(a.z), vec4<f32>(k0.z, k1.z, k2.z, k3.z), s[i]);
        s[i] = fma(vec4<f32>(a.w), vec4<f32>(k0.w, k1.w, k2.w, k3.w), s[i]);
      }
    }
    if (BIAS) {
      for (var i = 0u; i < 4u; i++) {
        let at = bias_base + key + tx * 4u - min(tile.x + ty + i * TY, last);
        s[i] = fma(vec4<f32>(bias[at], bias[at + 1u], bias[at + 2u], bias[at + 3u]), vec4<f32>(LOG2_E), s[i]);
      }
    }
    if (key + BK > tile.w) {
      let masked = vec4<u32>(key + tx * 4u) + vec4<u32>(0u, 1u, 2u, 3u) >= vec4<u32>(tile.w);
      for (var i = 0u; i < 4u; i++) { s[i] = select(s[i], vec4<f32>(MASKED), masked); }
    }
    for (var i = 0u; i < 4u; i++) { sh_row[(ty + i * TY) * TX + tx] = max(max(s[i].x, s[i].y), max(s[i].z, s[i].w)); }
    workgroupBarrier();
    // k has been read by all: v takes its place.
    for (var i = 0u; i < LOADS; i++) {
      if (LOADS > 16u && params.rows_k == 0u) { break; }
      let at = lane + i * WG;
      if (BK * D4 % WG == 0u || at < BK * D4) {
        sh_kv[at / D4 * STRIDE + at % D4] = vec4<f32>(v[(head * params.rows_k + min(key + at / D4, tile.w - 1u)) * D4 + at % D4]);
      }
    }
    for (var i = 0u; i < 4u; i++) {
      var top = row_max[i];
      for (var t = 0u; t < TX; t++) { top = max(top, sh_row[(ty + i * TY) * TX + t]); }
      let alpha = exp2(max(row_max[i] - top, -126.0));
      let p = exp2(max(s[i] - vec4<f32>(top), vec4<f32>(-126.0)));
      row_max[i] = top;
      row_sum[i] = fma(row_sum[i], alpha, p.x + p.y + p.z + p.w);
      for (var c = 0u; c < COLUMNS; c++) { acc[i][c] *= alpha; }
      sh_s[(ty + i * TY) * S_STRIDE + tx] = p;
    }
    workgroupBarrier();
    for (var n = 0u; n < TX; n++) {
      var p: array<vec4<f32>, 4>;
      for (var i = 0u; i < 4u; i++) { p[i] = sh_s[(ty + i * TY) * S_STRIDE + n]; }
      for (var c = 0u; c < COLUMNS; c++) {
        for (var j = 0u; j < 4u; j++) {
          let value = sh_kv[(n * 4u + j) * STRIDE + min(tx + c * TX, D4 - 1u)];
          for (var i = 0u; i < 4u; i++) { acc[i][c] = fma(vec4<f32>(p[i][j]), value, acc[i][c]); }
        }
      }
    }
    workgroupBarrier();
  }

  for (var i = 0u; i < 4u; i++) { sh_row[(ty + i * TY) * TX + tx] = row_sum[i]; }
  workgroupBarrier();
  for (var i = 0u; i < 4u; i++) {
    let row = tile.x + ty + i * TY;
    var sum = 0.0;
    for (var t = 0u; t < TX; t++) { sum += sh_row[(ty + i * TY) * TX + t]; }
    if (LSE && tx == 0u && row <= last) {
      lse[(params.head_base + head) * params.rows_q + row] = (row_max[i] + log2(sum)) * LN_2;
    }
    for (var c = 0u; c < COLUMNS; c++) {
      let column = tx + c * TX;
      if (row <= last && column < D4) {
        y[((row - params.row_base) * params.heads_total + params.head_base + head) * D4 + column] = vec4<Y>(acc[i][c] / sum);
      }
    }
  }
}
