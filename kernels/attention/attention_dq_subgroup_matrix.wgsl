// attention_dq_subgroup_matrix.wgsl — the gradient of attention with respect to q in f16, for GPUs with matrix units
//
// Shapes    q [N, Rq, D] f16 · k, v [N, Rk, D] f16 · dq [N, Rq, D] f16
//           tiles: (first query, queries, first key, keys' end) of each workgroup; queries of none have no keys, and zeros
// Matrices  MM × NN × KK, f16 in and f32 sums, one of the adapter's configurations
// Work      one workgroup per OWN queries of a head, a subgroup SM·MM of them, q and dy in registers. For every BK keys: scores = q·kᵀ and
//           dw − Σ dy·y = dy·vᵀ − Σ dy·y go to workgroup memory; TPR threads a row make ds = weights · (dw − Σ dy·y) of them, in halves,
//           while k is turned round, so that a lane's part of a matrix is whole words, and the next keys are read; then sums += ds · k.
//           Only the last keys of a tile, where they are fewer, are compared with its end.
// Registers 2·D/KK matrices of own rows, D/NN of sums, one of Σ dy·y, 2·BK/NN of scores and dw: 168 on RDNA 3 at D 64
// Dispatch  (tiles · heads, folded, 1)
// Cost      6·Rq·Rk·D·N flops, OWN a byte of k and v; compute bound
// Needs     D a multiple of KK, NN and 8, up to 64; a row has at least a lane, and 8 keys for each (src/ops/attention/gradient_variants.ts)
// Numerics  f16 products, weights and ds, f32 scores and sums
// After     Dao 2023, arXiv:2307.08691; no atomics: the sums have a fixed order
enable f16, subgroups, chromium_experimental_subgroup_matrix;
// A subgroup's lanes agree on what it does: lane / subgroup_size is the same in all of them, which the compiler cannot know.
diagnostic(off, chromium.subgroup_matrix_uniformity);
diagnostic(off, subgroup_uniformity);
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
// Only k is turned round.
const TURNS: u32 = 1u;
//! part shared/attention_gradient_matrix.wgsl
// Eight halves a word; a row of dy (rows) has its log-sum-exp and dy·y in a word more, as f32.
struct Params { d4: u32, rows_q: u32, rows_k: u32, heads: u32, tiles: u32, scale: f32 }
@group(0) @binding(1) var<storage, read> q: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> rows: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> tiles: array<vec4<u32>>;
//! specialise
const MM: u32 = 16u;
const NN: u32 = 16u;
const KK: u32 = 16u;
const SUBGROUP: u32 = 32u;
const SGS: u32 = 4u;
const SM: u32 = 1u;
const D: u32 = 64u;
const BK: u32 = 32u;
//! end
const LOG2_E: f32 = 1.4426950408889634;

const OWN: u32 = SGS * SM * MM;
const WG: u32 = SGS * SUBGROUP;
// Threads of an own row.
const TPR: u32 = WG / OWN;
const D8: u32 = D / 8u;
const DK: u32 = D / KK;
const DN: u32 = D / NN;
// Words of a row, of a column, of a row of values in f32; odd, so that 8 rows meet all banks.
const STRIDE: u32 = D8 + 1u - D8 % 2u;
const EIGHTS: u32 = TURNS * BK / 8u;
const T_STRIDE: u32 = EIGHTS + 1u - EIGHTS % 2u;
const S_STRIDE: u32 = BK / 4u + 1u;
// One matrix of sums of each subgroup, on its way out.
const O_STRIDE: u32 = NN / 4u + 1u;
const O_COUNT: u32 = SGS * MM * NN / 4u;
const LOADS: u32 = (BK * D8 + WG - 1u) / WG;
// Two columns by eight rows.
const T_COUNT: u32 = D / 2u * EIGHTS;
const T_LOADS: u32 = (T_COUNT + WG - 1u) / WG;
const CHUNKS: u32 = BK / 8u / TPR;
const S_WORDS: u32 = max(max(OWN * S_STRIDE, OWN * STRIDE), SGS * MM * O_STRIDE);
var<workgroup> sh_values: array<vec4<u32>, 2u * S_WORDS>;
var<workgroup> sh_walk: array<vec4<u32>, 2u * BK * STRIDE>;
var<workgroup> sh_turned: array<vec4<u32>, D * T_STRIDE>;

// values += own rows by walked rows, those from word `from_` on
fn multiply(
  values: ptr<function, array<array<subgroup_matrix_result<f32, NN, MM>, SM>, BK / NN>>,
  own: ptr<function, array<array<subgroup_matrix_left<f16, KK, MM>, DK>, SM>>, from_: u32,
) {
  for (var d = 0u; d < DK; d++) {
    for (var j = 0u; j < BK / NN; j++) {
      let x = subgroupMatrixLoad<subgroup_matrix_right<f16, NN, KK>, col_major>(
        &sh_walk, from_ + j * NN * STRIDE + d * (KK / 8u), STRIDE);
      for (var i = 0u; i < SM; i++) { (*values)[j][i] = subgroupMatrixMultiplyAccumulate((*own)[i][d], x, (*values)[j][i]); }
    }
  }
}

// sums += values · walked: this subgroup's values in halves from word `from_` on, columns of walked rows from their `eight`-th eight on
fn add(sums: ptr<function, array<array<subgroup_matrix_result<f32, NN, MM>, DN>, SM>>, subgroup: u32, from_: u32, eight: u32) {
  let part = min(subgroup, SGS - 1u);
  for (var n = 0u; n < BK / KK; n++) {
    var a: array<subgroup_matrix_left<f16, KK, MM>, SM>;
    for (var i = 0u; i < SM; i++) {
      a[i] = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(
        &sh_values, from_ + (part * SM + i) * MM * S_STRIDE + n * (KK / 8u), S_STRIDE);
    }
    for (var j = 0u; j < DN; j++) {
      let b = subgroupMatrixLoad<subgroup_matrix_right<f16, NN, KK>, col_major>(
        &sh_turned, j * NN * T_STRIDE + eight + n * (KK / 8u), T_STRIDE);
      for (var i = 0u; i < SM; i++) { (*sums)[i][j] = subgroupMatrixMultiplyAccumulate(a[i], b, (*sums)[i][j]); }
    }
  }
}
//! part ends
@group(0) @binding(6) var<storage, read_write> dq: array<vec4<f16>>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32, @builtin(subgroup_size) lanes: u32,
) {
  //! part shared/attention_gradient_place.wgsl
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles * params.heads) { return; }
  let tile = tiles[group % params.tiles];
  // A list may have room for more tiles than there are.
  if (tile.y == 0u) { return; }
  let last = tile.x + tile.y - 1u;
  let q_base = group / params.tiles * params.rows_q;
  let k_base = group / params.tiles * params.rows_k;
  //! part ends
  let subgroup = lane / lanes;
  // Of more subgroups all others do as the last does. A bound that compilers see: they fold constants into addresses then.
  let part = min(subgroup, SGS - 1u);
  let row = lane / TPR;
  for (var at = lane; at < OWN * D8; at += WG) {
    let from_ = q_base + min(tile.x + at / D8, last);
    sh_values[at / D8 * STRIDE + at % D8] = q[from_ * D8 + at % D8];
    sh_values[S_WORDS + at / D8 * STRIDE + at % D8] = rows[from_ * (D8 + 1u) + at % D8];
  }
  //! part shared/attention_gradient_matrix_own.wgsl
  workgroupBarrier();
  var own_a: array<array<subgroup_matrix_left<f16, KK, MM>, DK>, SM>;
  var own_b: array<array<subgroup_matrix_left<f16, KK, MM>, DK>, SM>;
  for (var i = 0u; i < SM; i++) {
    for (var d = 0u; d < DK; d++) {
      let at = (part * SM + i) * MM * STRIDE + d * (KK / 8u);
      own_a[i][d] = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(&sh_values, at, STRIDE);
      own_b[i][d] = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(&sh_values, S_WORDS + at, STRIDE);
    }
  }
  workgroupBarrier();
  //! part ends
  // Scores become powers of two.
  let c = params.scale * LOG2_E;
  let log = bitcast<f32>(rows[(q_base + min(tile.x + row, last)) * (D8 + 1u) + D8].x) * LOG2_E;
  var sums: array<array<subgroup_matrix_result<f32, NN, MM>, DN>, SM>;
  if (tile.z < tile.w) {
    // The sums of dw begin with − Σ dy·y, the same in all columns.
    for (var at = lane; at < OWN * (NN / 4u); at += WG) {
      let product = bitcast<f32>(rows[(q_base + min(tile.x + at / (NN / 4u), last)) * (D8 + 1u) + D8].y);
      sh_values[at / (NN / 4u) * S_STRIDE + at % (NN / 4u)] = bitcast<vec4<u32>>(vec4<f32>(-product));
    }
    // Keys past the end are the last one again, whose ds are made zero.
    let end = tile.w - 1u;
    for (var i = 0u; i < LOADS; i++) {
      let at = lane + i * WG;
      if (BK * D8 % WG == 0u || at < BK * D8) {
        let from_ = (k_base + min(tile.z + at / D8, end)) * D8 + at % D8;
        sh_walk[at / D8 * STRIDE + at % D8] = k[from_];
        sh_walk[(BK + at / D8) * STRIDE + at % D8] = v[from_];
      }
    }
    workgroupBarrier();
    var start: array<subgroup_matrix_result<f32, NN, MM>, SM>;
    for (var i = 0u; i < SM; i++) {
      start[i] = subgroupMatrixLoad<subgroup_matrix_result<f32, NN, MM>, row_major>(&sh_values, (part * SM + i) * MM * S_STRIDE, S_STRIDE);
    }
    var key = tile.z;
    // Its test stands at the end: compilers move addresses out of a loop only where its body runs in any case.
    loop {
      var w = array<array<subgroup_matrix_result<f32, NN, MM>, SM>, BK / NN>();
      for (var j = 0u; j < BK / NN; j++) {
        for (var i = 0u; i < SM; i++) { w[j][i] = start[i]; }
      }
      //! part shared/attention_gradient_matrix_values.wgsl
      multiply(&w, &own_b, BK * STRIDE);
      // Initialised explicitly: some WGSL compilers hoist the variable and clear it only once.
      var s = array<array<subgroup_matrix_result<f32, NN, MM>, SM>, BK / NN>();
      multiply(&s, &own_a, 0u);
      // They take the place of what this subgroup alone has read, in one step with its lanes.
      if (subgroup < SGS) {
        for (var j = 0u; j < BK / NN; j++) {
          for (var i = 0u; i < SM; i++) {
            let at = (part * SM + i) * MM * S_STRIDE + j * (NN / 4u);
            subgroupMatrixStore<row_major>(&sh_values, at, s[j][i], S_STRIDE);
            subgroupMatrixStore<row_major>(&sh_values, S_WORDS + at, w[j][i], S_STRIDE);
          }
        }
      }
      workgroupBarrier();
      //! part ends

      // Every TPR-th eight of the row's keys.
      var ds: array<vec4<u32>, CHUNKS>;
      for (var i = 0u; i < CHUNKS; i++) {
        let eight = i * TPR + lane % TPR;
        var p: array<vec4<f32>, 2>;
        for (var h = 0u; h < 2u; h++) {
          let at = row * S_STRIDE + eight * 2u + h;
          p[h] = exp2(fma(bitcast<vec4<f32>>(sh_values[at]), vec4<f32>(c), vec4<f32>(-log))) * bitcast<vec4<f32>>(sh_values[S_WORDS + at]);
        }
        if (key + BK > tile.w) {
          let left = i32(tile.w - key) - i32(lane % TPR * 8u);
          for (var h = 0u; h < 2u; h++) {
            let keys = vec4<i32>(i32(i * TPR * 8u + h * 4u)) + vec4<i32>(0, 1, 2, 3);
            p[h] = select(vec4<f32>(), p[h], keys < vec4<i32>(left));
          }
        }
        ds[i] = vec4<u32>(pack2x16float(p[0].xy), pack2x16float(p[0].zw), pack2x16float(p[1].xy), pack2x16float(p[1].zw));
      }
      // The next keys.
      var next_k: array<vec4<u32>, LOADS>;
      var next_v: array<vec4<u32>, LOADS>;
      for (var i = 0u; i < LOADS; i++) {
        let at = lane + i * WG;
        let from_ = (k_base + min(key + BK + at / D8, end)) * D8 + at % D8;
        next_k[i] = k[from_];
        next_v[i] = v[from_];
      }
      //! part shared/attention_gradient_matrix_turn.wgsl
      for (var i = 0u; i < T_LOADS; i++) {
        let at = lane + i * WG;
        // The minima change nothing: compilers that see the bounds leave out their own, and fold constants into the addresses.
        let column = min(at % (D / 2u), D / 2u - 1u);
        let n = min(at / (D / 2u), EIGHTS - 1u);
        let from_ = n * 8u * STRIDE + column / 4u;
        let word = min(column % 4u, 3u);
        let to = column * 2u * T_STRIDE + n;
        if (T_COUNT % WG == 0u || at < T_COUNT) {
          var pairs: array<vec2<f16>, 8>;
          for (var e = 0u; e < 8u; e++) { pairs[e] = bitcast<vec2<f16>>(sh_walk[from_ + e * STRIDE][word]); }
          var low: vec4<u32>;
          var high: vec4<u32>;
          for (var e = 0u; e < 4u; e++) {
            low[e] = bitcast<u32>(vec2<f16>(pairs[2u * e].x, pairs[2u * e + 1u].x));
            high[e] = bitcast<u32>(vec2<f16>(pairs[2u * e].y, pairs[2u * e + 1u].y));
          }
          sh_turned[to] = low;
          sh_turned[to + T_STRIDE] = high;
        }
      }
      //! part ends
      workgroupBarrier();
      for (var i = 0u; i < CHUNKS; i++) { sh_values[row * S_STRIDE + i * TPR + lane % TPR] = ds[i]; }
      for (var i = 0u; i < LOADS; i++) {
        let at = lane + i * WG;
        if (BK * D8 % WG == 0u || at < BK * D8) {
          sh_walk[at / D8 * STRIDE + at % D8] = next_k[i];
          sh_walk[(BK + at / D8) * STRIDE + at % D8] = next_v[i];
        }
      }
      workgroupBarrier();
      add(&sums, subgroup, 0u, 0u);
      continuing {
        key += BK;
        break if key >= tile.w;
      }
    }
  }
  workgroupBarrier();
  for (var i = 0u; i < SM; i++) {
    for (var j = 0u; j < DN; j++) {
      if (subgroup < SGS) { subgroupMatrixStore<row_major>(&sh_values, part * MM * O_STRIDE, sums[i][j], O_STRIDE); }
      workgroupBarrier();
      for (var at = lane; at < O_COUNT; at += WG) {
        let r = at / (NN / 4u);
        let m = tile.x + (r / MM * SM + i) * MM + r % MM;
        let value = bitcast<vec4<f32>>(sh_values[r * O_STRIDE + at % (NN / 4u)]) * params.scale;
        if (m <= last) { dq[(q_base + m) * (D / 4u) + j * (NN / 4u) + at % (NN / 4u)] = vec4<f16>(value); }
      }
      workgroupBarrier();
    }
  }
}
