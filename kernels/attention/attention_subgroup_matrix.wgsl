// attention_subgroup_matrix.wgsl — softmax(scale · q·kᵀ + bias) · v in f16, online, for GPUs with matrix units
//
// Shapes    q [N, Rq, D] f16 · k, v [N, Rk, D] f16 · y [Rq, N·D]
//           tiles: (first query, queries, first key, keys' end) of each workgroup
//           BIAS: bias [N, 2L − 1] by key − query + L − 1, both counted from their segment's first, L the longest segment's length;
//           tiles goes on with as many (segment's first query, 0, 0, 0)
//           LSE: lse [N, Rq], log Σ exp(score) of a query
// Matrices  MM × NN × KK, f16 in and f32 sums, one of the adapter's configurations: 16×16×16, 8×16×16, 8×8×16 or 8×8×8
// Work      one workgroup per BQ queries of a head; each of its SGS subgroups owns SM·MM of them, their part of q and their sums in
//           registers. For every BK keys: scores = q·kᵀ go to workgroup memory, TPR threads a row turn them into weights, which take
//           the scores' place in halves; then sums += weights · v. k and v are staged, v turned round, so that a lane's part of a
//           matrix is whole words; k for the next keys while weights are made.
// Rescaling A matrix of sums cannot be scaled by rows where it is. Weights are therefore taken relative to a maximum that only moves
//           when a score passes it by 2^RISE; they stay below 2^RISE, within f16's range. Then, which is rare after the first keys,
//           the sums go through workgroup memory once.
// Dispatch  (tiles · heads, folded, 1)
// Cost      4·Rq·Rk·D·N flops, BQ a byte of k and v; compute bound
// Registers D/KK matrices of q, D/NN of sums, BK/NN of scores, and operands: 132 on RDNA 3 at D 64, 64 × 64
// Memory    36 KB at D 64, 64 × 64: scores 17, k and v 9 each; 8 waves of a SIMD. Two matrices of rows a subgroup would load k and v half
//           as often, but the compiler then fills 192 registers and moves operands between them: 68 % of the issue slots were matrix
//           instructions, not 76 %.
// Occupancy 6 waves a SIMD or more on RDNA 3: D 128 takes twice the matrices of q and sums, 192 registers, and 53 KB
// Banks     Rows have an odd number of 16-byte words, so that 8 rows, which a matrix load reads at once, meet all 32 banks
// Needs     D a multiple of KK, NN and 8; scale > 0; a row has at least a lane, and 8 keys for each (src/ops/attention.ts)
//           SUBGROUP: the adapter's largest subgroup; of more and smaller ones some only stage
// Numerics  f16 products and weights, f32 scores and sums; masked keys by a finite sentinel
// After     Dao 2023, arXiv:2307.08691; the lazy maximum: Shah et al. 2024, arXiv:2407.08608, and its successors
enable f16, subgroups, chromium_experimental_subgroup_matrix;
// A subgroup's lanes agree on what it does: lane / subgroup_size is the same in all of them, which the compiler cannot know.
diagnostic(off, chromium.subgroup_matrix_uniformity);
diagnostic(off, subgroup_uniformity);
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const MM: u32 = 16u;
const NN: u32 = 16u;
const KK: u32 = 16u;
const SUBGROUP: u32 = 32u;
const SGS: u32 = 4u;
const SM: u32 = 2u;
const D: u32 = 64u;
const BK: u32 = 32u;
//! end
// Eight halves a word; v by twos.
@group(0) @binding(1) var<storage, read> q: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> v: array<vec2<f16>>;
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

const BQ: u32 = SGS * SM * MM;
const WG: u32 = SGS * SUBGROUP;
const TPR: u32 = WG / BQ;
const D8: u32 = D / 8u;
// Words of a row of q or k, of scores (f32) and then weights (f16), of a column of v.
const Q_STRIDE: u32 = D8 + 1u - D8 % 2u;
const S_STRIDE: u32 = BK / 4u + 1u;
const V_STRIDE: u32 = BK / 8u + 1u - BK / 8u % 2u;
// One matrix of sums of each subgroup, on its way out or to be scaled.
const O_STRIDE: u32 = NN / 4u + 1u;
const O_COUNT: u32 = SGS * MM * NN / 4u;
const K_LOADS: u32 = (BK * D8 + WG - 1u) / WG;
// Two columns of v by eight keys.
const V_COUNT: u32 = D / 2u * BK / 8u;
const V_LOADS: u32 = (V_COUNT + WG - 1u) / WG;
const CHUNKS: u32 = BK / 8u / TPR;
const OD: u32 = D / NN;
var<workgroup> sh: array<vec4<u32>, max(max(BQ * S_STRIDE, BQ * Q_STRIDE), SGS * MM * O_STRIDE)>;
var<workgroup> sh_k: array<vec4<u32>, BK * Q_STRIDE>;
var<workgroup> sh_v: array<vec4<u32>, D * V_STRIDE>;
var<workgroup> sh_row: array<f32, BQ>;
var<workgroup> sh_moved: atomic<u32>;

const RISE: f32 = 10.0;

// acc += weights · v
fn add_weighted(acc: ptr<function, array<array<subgroup_matrix_result<f32, NN, MM>, OD>, SM>>, part: u32) {
  for (var n = 0u; n < BK / KK; n++) {
    var a: array<subgroup_matrix_left<f16, KK, MM>, SM>;
    for (var i = 0u; i < SM; i++) {
      a[i] = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(
        &sh, (part * SM + i) * MM * S_STRIDE + n * (KK / 8u), S_STRIDE);
    }
    for (var j = 0u; j < OD; j++) {
      let b = subgroupMatrixLoad<subgroup_matrix_right<f16, NN, KK>, col_major>(&sh_v, j * NN * V_STRIDE + n * (KK / 8u), V_STRIDE);
      for (var i = 0u; i < SM; i++) { (*acc)[i][j] = subgroupMatrixMultiplyAccumulate(a[i], b, (*acc)[i][j]); }
    }
  }
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32, @builtin(subgroup_size) lanes: u32,
) {
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
  let subgroup = lane / lanes;
  // Of more subgroups all others do as the last does. A bound that compilers see: they fold constants into addresses then.
  let part = min(subgroup, SGS - 1u);
  let row = lane / TPR;
  // Scores become powers of two where the maximum is taken off, or before their bias is added.
  let c = params.scale * LOG2_E;
  let late = select(c, 1.0, BIAS);
  let k_base = head * params.rows_k * D8;
  let v_base = head * params.rows_k * (D / 2u);

  // q through workgroup memory into registers; the first keys.
  for (var at = lane; at < BQ * D8; at += WG) {
    sh[at / D8 * Q_STRIDE + at % D8] = q[(head * params.rows_q + min(tile.x + at / D8, last)) * D8 + at % D8];
  }
  for (var i = 0u; i < K_LOADS; i++) {
    let at = lane + i * WG;
    if (BK * D8 % WG == 0u || at < BK * D8) {
      sh_k[at / D8 * Q_STRIDE + at % D8] = k[k_base + min(tile.z + at / D8, tile.w - 1u) * D8 + at % D8];
    }
  }
  workgroupBarrier();
  var q_part: array<array<subgroup_matrix_left<f16, KK, MM>, D / KK>, SM>;
  for (var i = 0u; i < SM; i++) {
    for (var d = 0u; d < D / KK; d++) {
      q_part[i][d] = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(
        &sh, (part * SM + i) * MM * Q_STRIDE + d * (KK / 8u), Q_STRIDE);
    }
  }
  workgroupBarrier();

  var top = MASKED;
  var sum = 0.0;
  // Weights of the keys before: none yet, and v is zero.
  var weights: array<vec4<u32>, CHUNKS>;
  var acc: array<array<subgroup_matrix_result<f32, NN, MM>, OD>, SM>;
  var key = tile.z;
  var moved = 0u;
  // The inner loop ends when the maximum has moved, so that what then is to be done lies outside of it. Its test stands at the end:
  // compilers move addresses out of a loop only where its body runs in any case.
  loop {
    loop {
      for (var i = 0u; i < CHUNKS; i++) { sh[row * S_STRIDE + i * TPR + lane % TPR] = weights[i]; }
      workgroupBarrier();
      add_weighted(&acc, part);

      // Initialised explicitly: some WGSL compilers hoist the variable and clear it only once.
      var s = array<array<subgroup_matrix_result<f32, NN, MM>, SM>, BK / NN>();
      for (var j = 0u; j < BK / NN; j++) {
        for (var d = 0u; d < D / KK; d++) {
          let b = subgroupMatrixLoad<subgroup_matrix_right<f16, NN, KK>, col_major>(&sh_k, j * NN * Q_STRIDE + d * (KK / 8u), Q_STRIDE);
          for (var i = 0u; i < SM; i++) { s[j][i] = subgroupMatrixMultiplyAccumulate(q_part[i][d], b, s[j][i]); }
        }
      }
      // The scores take the place of weights: a subgroup writes what it alone has read, in one step with its lanes.
      if (subgroup < SGS) {
        for (var j = 0u; j < BK / NN; j++) {
          for (var i = 0u; i < SM; i++) {
            subgroupMatrixStore<row_major>(&sh, (part * SM + i) * MM * S_STRIDE + j * (NN / 4u), s[j][i], S_STRIDE);
          }
        }
      }
      workgroupBarrier();

      // v turned round: eight keys of a column make a word. Keys past the end have weights of zero, and whatever is read there is finite.
      for (var i = 0u; i < V_LOADS; i++) {
        let at = lane + i * WG;
        if (V_COUNT % WG == 0u || at < V_COUNT) {
          let column = at % (D / 2u);
          let n = at / (D / 2u);
          let start = v_base + (key + n * 8u) * (D / 2u) + column;
          var pairs: array<vec2<f16>, 8>;
          for (var e = 0u; e < 8u; e++) { pairs[e] = v[start + e * (D / 2u)]; }
          var low: vec4<u32>;
          var high: vec4<u32>;
          for (var e = 0u; e < 4u; e++) {
            low[e] = bitcast<u32>(vec2<f16>(pairs[2u * e].x, pairs[2u * e + 1u].x));
            high[e] = bitcast<u32>(vec2<f16>(pairs[2u * e].y, pairs[2u * e + 1u].y));
          }
          sh_v[column * 2u * V_STRIDE + n] = low;
          sh_v[(column * 2u + 1u) * V_STRIDE + n] = high;
        }
      }
      // k for the next keys.
      for (var i = 0u; i < K_LOADS; i++) {
        let at = lane + i * WG;
        if (BK * D8 % WG == 0u || at < BK * D8) { sh_k[at / D8 * Q_STRIDE + at % D8] = k[k_base + (key + BK) * D8 + at]; }
      }

      // Every TPR-th eight of the row's scores.
      var p: array<array<vec4<f32>, 2>, CHUNKS>;
      for (var i = 0u; i < CHUNKS; i++) {
        for (var h = 0u; h < 2u; h++) { p[i][h] = bitcast<vec4<f32>>(sh[row * S_STRIDE + (i * TPR + lane % TPR) * 2u + h]); }
      }
      if (BIAS) {
        for (var i = 0u; i < CHUNKS; i++) {
          for (var h = 0u; h < 2u; h++) {
            let at = bias_base + key + (i * TPR + lane % TPR) * 8u + h * 4u - min(tile.x + row, last);
            p[i][h] = fma(p[i][h], vec4<f32>(c), LOG2_E * vec4<f32>(bias[at], bias[at + 1u], bias[at + 2u], bias[at + 3u]));
          }
        }
      }
      if (key + BK > tile.w) {
        let left = i32(tile.w - key) - i32(lane % TPR * 8u);
        for (var i = 0u; i < CHUNKS; i++) {
          for (var h = 0u; h < 2u; h++) {
            let keys = vec4<i32>(i32(i * TPR * 8u + h * 4u)) + vec4<i32>(0, 1, 2, 3);
            p[i][h] = select(vec4<f32>(MASKED), p[i][h], keys < vec4<i32>(left));
          }
        }
      }
      var most = p[0][0];
      for (var i = 0u; i < CHUNKS; i++) { most = max(most, max(p[i][0], p[i][1])); }
      var highest = max(max(most.x, most.y), max(most.z, most.w));
      for (var t = 1u; t < TPR; t *= 2u) { highest = max(highest, subgroupShuffleXor(highest, t)); }
      highest *= late;
      let risen = highest > top + RISE;
      let alpha = select(1.0, exp2(max(top - highest, -126.0)), risen);
      top = select(top, highest, risen);
      sum *= alpha;
      if (lane % TPR == 0u) { sh_row[row] = alpha; }
      // The first keys find sums of zero.
      if (risen && key != tile.z) { atomicStore(&sh_moved, 1u); }
      var sums = vec4<f32>();
      for (var i = 0u; i < CHUNKS; i++) {
        for (var h = 0u; h < 2u; h++) {
          p[i][h] = exp2(fma(p[i][h], vec4<f32>(late), vec4<f32>(-top)));
          sums += p[i][h];
        }
        weights[i] = vec4<u32>(pack2x16float(p[i][0].xy), pack2x16float(p[i][0].zw), pack2x16float(p[i][1].xy), pack2x16float(p[i][1].zw));
      }
      sum += (sums.x + sums.y) + (sums.z + sums.w);
      // A barrier, too: the scores have been read by all.
      moved = workgroupUniformLoad(&sh_moved);
      continuing {
        key += BK;
        break if moved != 0u || key >= tile.w;
      }
    }
    if (moved != 0u) {
      for (var i = 0u; i < SM; i++) {
        for (var j = 0u; j < OD; j++) {
          if (subgroup < SGS) { subgroupMatrixStore<row_major>(&sh, part * MM * O_STRIDE, acc[i][j], O_STRIDE); }
          workgroupBarrier();
          for (var at = lane; at < O_COUNT; at += WG) {
            let r = at / (NN / 4u);
            let word = r * O_STRIDE + at % (NN / 4u);
            sh[word] = bitcast<vec4<u32>>(bitcast<vec4<f32>>(sh[word]) * sh_row[(r / MM * SM + i) * MM + r % MM]);
          }
          workgroupBarrier();
          acc[i][j] = subgroupMatrixLoad<subgroup_matrix_result<f32, NN, MM>, row_major>(&sh, part * MM * O_STRIDE, O_STRIDE);
          workgroupBarrier();
        }
      }
      if (lane == 0u) { atomicStore(&sh_moved, 0u); }
    }
    if (key >= tile.w) { break; }
  }
  for (var i = 0u; i < CHUNKS; i++) { sh[row * S_STRIDE + i * TPR + lane % TPR] = weights[i]; }
  workgroupBarrier();
  add_weighted(&acc, part);

  for (var t = 1u; t < TPR; t *= 2u) { sum += subgroupShuffleXor(sum, t); }
  workgroupBarrier();
  if (lane % TPR == 0u) { sh_row[row] = 1.0 / sum; }
  if (LSE && lane % TPR == 0u && tile.x + row <= last) {
    lse[(params.head_base + head) * params.rows_q + tile.x + row] = (top + log2(sum)) * LN_2;
  }
  for (var i = 0u; i < SM; i++) {
    for (var j = 0u; j < OD; j++) {
      if (subgroup < SGS) { subgroupMatrixStore<row_major>(&sh, part * MM * O_STRIDE, acc[i][j], O_STRIDE); }
      workgroupBarrier();
      for (var at = lane; at < O_COUNT; at += WG) {
        let r = at / (NN / 4u);
        let m = (r / MM * SM + i) * MM + r % MM;
        let value = bitcast<vec4<f32>>(sh[r * O_STRIDE + at % (NN / 4u)]) * sh_row[m];
        if (tile.x + m <= last) {
          let out = ((tile.x + m - params.row_base) * params.heads_total + params.head_base + head) * (D / 4u);
          y[out + j * (NN / 4u) + at % (NN / 4u)] = vec4<Y>(value);
        }
      }
      workgroupBarrier();
    }
  }
}
