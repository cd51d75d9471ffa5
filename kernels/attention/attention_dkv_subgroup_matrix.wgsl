// attention_dkv_subgroup_matrix.wgsl — the gradients of attention with respect to k and v in f16, for GPUs with matrix units
//
// Shapes    q [N, Rq, D] f16 · k, v [N, Rk, D] f16 · dk, dv [N, Rk, D] f16
//           tiles: (first key, keys, first run, runs' end) of each workgroup; then runs: (first query, queries' end, 0, 0), the queries
//           that read these keys. Keys that no query reads have no runs, and zeros.
// Matrices  MM × NN × KK, f16 in and f32 sums, one of the adapter's configurations
// Work      one workgroup per OWN keys of a head, a subgroup SM·MM of them, k and v in registers. For every BK queries: scores = k·qᵀ and
//           dw = v·dyᵀ go to workgroup memory; TPR threads a row make weights and ds = weights · (dw − Σ dy·y) of them, in halves, while
//           q and dy are turned round, so that a lane's part of a matrix is whole words, and the next queries are read; then
//           dv += weights · dy and dk += ds · q. Queries past the end have a log-sum-exp that makes their weights zero.
// Registers 2·D/KK matrices of own rows, 2·D/NN of sums, 2·BK/NN of scores and dw: 192 on RDNA 3 at D 64
// Dispatch  (tiles · heads, folded, 1)
// Cost      8·Rq·Rk·D·N flops, OWN a byte of q and dy; compute bound
// Needs     D a multiple of KK, NN and 8, up to 64; a row has a lane at least, and 8 queries for each
//           (src/ops/attention/gradient_variants.ts)
// Numerics  f16 products, weights and ds, f32 scores and sums
// After     Dao 2023, arXiv:2307.08691; no atomics: the sums have a fixed order
enable f16, subgroups, chromium_experimental_subgroup_matrix;
// A subgroup's lanes agree on what it does: lane / subgroup_size is the same in all of them, which the compiler cannot know.
diagnostic(off, chromium.subgroup_matrix_uniformity);
diagnostic(off, subgroup_uniformity);
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
// q and dy are turned round.
const TURNS: u32 = 2u;
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
@group(0) @binding(6) var<storage, read_write> dk: array<vec4<f16>>;
@group(0) @binding(7) var<storage, read_write> dv: array<vec4<f16>>;
// The log-sum-exp of the walked queries, for powers of two, and their dy·y.
var<workgroup> sh_logs: array<f32, BK>;
var<workgroup> sh_products: array<f32, BK>;
// Of no query: all weights are zero.
const NO_QUERY: f32 = 1e30;
const R_LOADS: u32 = (BK + WG - 1u) / WG;

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
    let from_ = (k_base + min(tile.x + at / D8, last)) * D8 + at % D8;
    sh_values[at / D8 * STRIDE + at % D8] = k[from_];
    sh_values[S_WORDS + at / D8 * STRIDE + at % D8] = v[from_];
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
  var keys: array<array<subgroup_matrix_result<f32, NN, MM>, DN>, SM>;
  var values: array<array<subgroup_matrix_result<f32, NN, MM>, DN>, SM>;
  for (var run = tile.z; run < tile.w; run++) {
    let queries = tiles[params.tiles + run];
    // Queries past the end are the last one again, with weights of zero.
    let end = queries.y - 1u;
    for (var i = 0u; i < LOADS; i++) {
      let at = lane + i * WG;
      if (BK * D8 % WG == 0u || at < BK * D8) {
        let from_ = q_base + min(queries.x + at / D8, end);
        sh_walk[at / D8 * STRIDE + at % D8] = q[from_ * D8 + at % D8];
        sh_walk[(BK + at / D8) * STRIDE + at % D8] = rows[from_ * (D8 + 1u) + at % D8];
      }
    }
    for (var at = lane; at < BK; at += WG) {
      let stored = bitcast<vec2<f32>>(rows[(q_base + min(queries.x + at, end)) * (D8 + 1u) + D8].xy);
      sh_logs[at] = select(NO_QUERY, stored.x * LOG2_E, queries.x + at <= end);
      sh_products[at] = stored.y;
    }
    workgroupBarrier();
    var query = queries.x;
    // Its test stands at the end: compilers move addresses out of a loop only where its body runs in any case.
    loop {
      var w = array<array<subgroup_matrix_result<f32, NN, MM>, SM>, BK / NN>();
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

      // Every TPR-th eight of the row's queries.
      var weights: array<vec4<u32>, CHUNKS>;
      var ds: array<vec4<u32>, CHUNKS>;
      for (var i = 0u; i < CHUNKS; i++) {
        let eight = i * TPR + lane % TPR;
        var p: array<vec4<f32>, 2>;
        var t: array<vec4<f32>, 2>;
        for (var h = 0u; h < 2u; h++) {
          let at = row * S_STRIDE + eight * 2u + h;
          let n = eight * 8u + h * 4u;
          let logs = vec4<f32>(sh_logs[n], sh_logs[n + 1u], sh_logs[n + 2u], sh_logs[n + 3u]);
          let products = vec4<f32>(sh_products[n], sh_products[n + 1u], sh_products[n + 2u], sh_products[n + 3u]);
          p[h] = exp2(fma(bitcast<vec4<f32>>(sh_values[at]), vec4<f32>(c), -logs));
          t[h] = p[h] * (bitcast<vec4<f32>>(sh_values[S_WORDS + at]) - products);
        }
        weights[i] = vec4<u32>(pack2x16float(p[0].xy), pack2x16float(p[0].zw), pack2x16float(p[1].xy), pack2x16float(p[1].zw));
        ds[i] = vec4<u32>(pack2x16float(t[0].xy), pack2x16float(t[0].zw), pack2x16float(t[1].xy), pack2x16float(t[1].zw));
      }
      // The next queries.
      var next_q: array<vec4<u32>, LOADS>;
      var next_dy: array<vec4<u32>, LOADS>;
      var next_row: array<vec2<f32>, R_LOADS>;
      for (var i = 0u; i < LOADS; i++) {
        let at = lane + i * WG;
        let from_ = q_base + min(query + BK + at / D8, end);
        next_q[i] = q[from_ * D8 + at % D8];
        next_dy[i] = rows[from_ * (D8 + 1u) + at % D8];
      }
      for (var i = 0u; i < R_LOADS; i++) {
        let at = query + BK + (lane + i * WG) % BK;
        let stored = bitcast<vec2<f32>>(rows[(q_base + min(at, end)) * (D8 + 1u) + D8].xy);
        next_row[i] = vec2<f32>(select(NO_QUERY, stored.x * LOG2_E, at <= end), stored.y);
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
      for (var i = 0u; i < CHUNKS; i++) {
        sh_values[row * S_STRIDE + i * TPR + lane % TPR] = ds[i];
        sh_values[S_WORDS + row * S_STRIDE + i * TPR + lane % TPR] = weights[i];
      }
      for (var i = 0u; i < LOADS; i++) {
        let at = lane + i * WG;
        if (BK * D8 % WG == 0u || at < BK * D8) {
          sh_walk[at / D8 * STRIDE + at % D8] = next_q[i];
          sh_walk[(BK + at / D8) * STRIDE + at % D8] = next_dy[i];
        }
      }
      for (var i = 0u; i < R_LOADS; i++) {
        if (lane + i * WG < BK) {
          sh_logs[lane + i * WG] = next_row[i].x;
          sh_products[lane + i * WG] = next_row[i].y;
        }
      }
      workgroupBarrier();
      add(&values, subgroup, S_WORDS, BK / 8u);
      add(&keys, subgroup, 0u, 0u);
      continuing {
        query += BK;
        break if query > end;
      }
    }
  }
  workgroupBarrier();
  for (var i = 0u; i < SM; i++) {
    for (var j = 0u; j < DN; j++) {
      if (subgroup < SGS) {
        subgroupMatrixStore<row_major>(&sh_values, part * MM * O_STRIDE, keys[i][j], O_STRIDE);
        subgroupMatrixStore<row_major>(&sh_values, S_WORDS + part * MM * O_STRIDE, values[i][j], O_STRIDE);
      }
      workgroupBarrier();
      for (var at = lane; at < O_COUNT; at += WG) {
        let r = at / (NN / 4u);
        let m = tile.x + (r / MM * SM + i) * MM + r % MM;
        let word = r * O_STRIDE + at % (NN / 4u);
        if (m <= last) {
          let to = (k_base + m) * (D / 4u) + j * (NN / 4u) + at % (NN / 4u);
          dk[to] = vec4<f16>(bitcast<vec4<f32>>(sh_values[word]) * params.scale);
          dv[to] = vec4<f16>(bitcast<vec4<f32>>(sh_values[S_WORDS + word]));
        }
      }
      workgroupBarrier();
    }
  }
}
