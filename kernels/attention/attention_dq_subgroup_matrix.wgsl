// attention_dq_subgroup_matrix.wgsl — the gradient of attention with respect to q in f16, for GPUs with matrix units
//
// Shapes    q [N, Rq, D] f16 · k, v [N, Rk, D] f16 · dq [N, Rq, D] f16
//           tiles: (first query, queries, first key, keys' end) of each workgroup; queries of none have no keys, and zeros
// Matrices  MM × NN × KK, f16 in and f32 sums, one of the adapter's configurations
// Registers own rows of two operands as matrices, D/NN of sums, 2 of scores
// Work      one workgroup per OWN queries of a head, a subgroup SM·MM of them. For every BK keys, staged as rows and k turned round too:
//           scores = q·kᵀ and dw = dy·vᵀ go to workgroup memory; TPR threads a row make ds = weights · (dw − Σ dy·y) of them, in halves;
//           then sums += ds · k.
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
const T_STRIDE: u32 = BK / 8u + 1u - BK / 8u % 2u;
const S_STRIDE: u32 = BK / 4u + 1u;
// One matrix of sums of each subgroup, on its way out.
const O_STRIDE: u32 = NN / 4u + 1u;
const O_COUNT: u32 = SGS * MM * NN / 4u;
const LOADS: u32 = (BK * D8 + WG - 1u) / WG;
// Two columns by eight rows.
const T_COUNT: u32 = D / 2u * BK / 8u;
const T_LOADS: u32 = (T_COUNT + WG - 1u) / WG;
const CHUNKS: u32 = BK / 8u / TPR;
const S_WORDS: u32 = max(max(OWN * S_STRIDE, OWN * STRIDE), SGS * MM * O_STRIDE);
var<workgroup> sh_s: array<vec4<u32>, S_WORDS>;
var<workgroup> sh_t: array<vec4<u32>, S_WORDS>;
var<workgroup> sh_a: array<vec4<u32>, BK * STRIDE>;
var<workgroup> sh_b: array<vec4<u32>, BK * STRIDE>;
var<workgroup> sh_at: array<vec4<u32>, D * T_STRIDE>;
var<workgroup> sh_bt: array<vec4<u32>, D * T_STRIDE>;

// Of 8 rows two neighbouring columns, a word each.
fn turned(pairs: array<u32, 8>) -> array<vec4<u32>, 2> {
  var out: array<vec4<u32>, 2>;
  for (var e = 0u; e < 4u; e++) {
    out[0][e] = (pairs[2u * e] & 0xffffu) | (pairs[2u * e + 1u] << 16u);
    out[1][e] = (pairs[2u * e] >> 16u) | (pairs[2u * e + 1u] & 0xffff0000u);
  }
  return out;
}

// sh_s = a · sh_aᵀ and sh_t = b · sh_bᵀ, a subgroup its own rows.
fn multiply(
  a: ptr<function, array<array<subgroup_matrix_left<f16, KK, MM>, DK>, SM>>,
  b: ptr<function, array<array<subgroup_matrix_left<f16, KK, MM>, DK>, SM>>, subgroup: u32,
) {
  let part = subgroup % SGS;
  for (var j = 0u; j < BK / NN; j++) {
    // Initialised explicitly: some WGSL compilers hoist the variable and clear it only once.
    var s = array<subgroup_matrix_result<f32, NN, MM>, SM>();
    var t = array<subgroup_matrix_result<f32, NN, MM>, SM>();
    for (var d = 0u; d < DK; d++) {
      let x = subgroupMatrixLoad<subgroup_matrix_right<f16, NN, KK>, col_major>(&sh_a, j * NN * STRIDE + d * (KK / 8u), STRIDE);
      for (var i = 0u; i < SM; i++) { s[i] = subgroupMatrixMultiplyAccumulate((*a)[i][d], x, s[i]); }
    }
    for (var d = 0u; d < DK; d++) {
      let x = subgroupMatrixLoad<subgroup_matrix_right<f16, NN, KK>, col_major>(&sh_b, j * NN * STRIDE + d * (KK / 8u), STRIDE);
      for (var i = 0u; i < SM; i++) { t[i] = subgroupMatrixMultiplyAccumulate((*b)[i][d], x, t[i]); }
    }
    if (subgroup < SGS) {
      for (var i = 0u; i < SM; i++) {
        subgroupMatrixStore<row_major>(&sh_s, (part * SM + i) * MM * S_STRIDE + j * (NN / 4u), s[i], S_STRIDE);
        subgroupMatrixStore<row_major>(&sh_t, (part * SM + i) * MM * S_STRIDE + j * (NN / 4u), t[i], S_STRIDE);
      }
    }
  }
}

// sums += sh_s · a: halves of sh_s by the walked rows
fn add(sums: ptr<function, array<array<subgroup_matrix_result<f32, NN, MM>, DN>, SM>>, part: u32) {
  for (var n = 0u; n < BK / KK; n++) {
    var a: array<subgroup_matrix_left<f16, KK, MM>, SM>;
    for (var i = 0u; i < SM; i++) {
      a[i] = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(
        &sh_s, (part * SM + i) * MM * S_STRIDE + n * (KK / 8u), S_STRIDE);
    }
    for (var j = 0u; j < DN; j++) {
      let b = subgroupMatrixLoad<subgroup_matrix_right<f16, NN, KK>, col_major>(&sh_at, j * NN * T_STRIDE + n * (KK / 8u), T_STRIDE);
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
  let part = subgroup % SGS;
  let row = lane / TPR;
  for (var at = lane; at < OWN * D8; at += WG) {
    let from_ = q_base + min(tile.x + at / D8, last);
    sh_s[at / D8 * STRIDE + at % D8] = q[from_ * D8 + at % D8];
    sh_t[at / D8 * STRIDE + at % D8] = rows[from_ * (D8 + 1u) + at % D8];
  }
  let stored = bitcast<vec2<f32>>(rows[(q_base + min(tile.x + row, last)) * (D8 + 1u) + D8].xy);
  //! part shared/attention_gradient_matrix_own.wgsl
  workgroupBarrier();
  var own_a: array<array<subgroup_matrix_left<f16, KK, MM>, DK>, SM>;
  var own_b: array<array<subgroup_matrix_left<f16, KK, MM>, DK>, SM>;
  for (var i = 0u; i < SM; i++) {
    for (var d = 0u; d < DK; d++) {
      let at = (part * SM + i) * MM * STRIDE + d * (KK / 8u);
      own_a[i][d] = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(&sh_s, at, STRIDE);
      own_b[i][d] = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(&sh_t, at, STRIDE);
    }
  }
  workgroupBarrier();
  //! part ends
  // Scores become powers of two.
  let c = params.scale * LOG2_E;
  let log = stored.x * LOG2_E;
  var sums: array<array<subgroup_matrix_result<f32, NN, MM>, DN>, SM>;
  for (var key = tile.z; key < tile.w; key += BK) {
    let end = tile.w - 1u;
    for (var i = 0u; i < LOADS; i++) {
      let at = lane + i * WG;
      if (BK * D8 % WG == 0u || at < BK * D8) {
        let from_ = (k_base + min(key + at / D8, end)) * D8 + at % D8;
        sh_a[at / D8 * STRIDE + at % D8] = k[from_];
        sh_b[at / D8 * STRIDE + at % D8] = v[from_];
      }
    }
    for (var i = 0u; i < T_LOADS; i++) {
      let at = lane + i * WG;
      if (T_COUNT % WG == 0u || at < T_COUNT) {
        let column = at % (D / 2u);
        let n = at / (D / 2u);
        var pairs: array<u32, 8>;
        for (var e = 0u; e < 8u; e++) { pairs[e] = k[(k_base + min(key + n * 8u + e, end)) * D8 + column / 4u][column % 4u]; }
        let two = turned(pairs);
        sh_at[column * 2u * T_STRIDE + n] = two[0];
        sh_at[(column * 2u + 1u) * T_STRIDE + n] = two[1];
      }
    }
    workgroupBarrier();
    multiply(&own_a, &own_b, subgroup);
    workgroupBarrier();
    // Every TPR-th eight of the row's keys.
    var ds: array<vec4<u32>, CHUNKS>;
    for (var i = 0u; i < CHUNKS; i++) {
      let eight = i * TPR + lane % TPR;
      var p: array<vec4<f32>, 2>;
      for (var h = 0u; h < 2u; h++) {
        let s = bitcast<vec4<f32>>(sh_s[row * S_STRIDE + eight * 2u + h]);
        let w = bitcast<vec4<f32>>(sh_t[row * S_STRIDE + eight * 2u + h]);
        let real = vec4<u32>(key + eight * 8u + h * 4u) + vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(end);
        p[h] = select(vec4<f32>(), exp2(max(fma(s, vec4<f32>(c), vec4<f32>(-log)), vec4<f32>(-126.0))) * (w - stored.y), real);
      }
      ds[i] = vec4<u32>(pack2x16float(p[0].xy), pack2x16float(p[0].zw), pack2x16float(p[1].xy), pack2x16float(p[1].zw));
    }
    workgroupBarrier();
    for (var i = 0u; i < CHUNKS; i++) { sh_s[row * S_STRIDE + i * TPR + lane % TPR] = ds[i]; }
    workgroupBarrier();
    add(&sums, part);
    workgroupBarrier();
  }
  for (var i = 0u; i < SM; i++) {
    for (var j = 0u; j < DN; j++) {
      if (subgroup < SGS) { subgroupMatrixStore<row_major>(&sh_s, part * MM * O_STRIDE, sums[i][j], O_STRIDE); }
      workgroupBarrier();
      for (var at = lane; at < O_COUNT; at += WG) {
        let r = at / (NN / 4u);
        let m = tile.x + (r / MM * SM + i) * MM + r % MM;
        let value = bitcast<vec4<f32>>(sh_s[r * O_STRIDE + at % (NN / 4u)]) * params.scale;
        if (m <= last) { dq[(q_base + m) * (D / 4u) + j * (NN / 4u) + at % (NN / 4u)] = vec4<f16>(value); }
      }
      workgroupBarrier();
    }
  }
}
