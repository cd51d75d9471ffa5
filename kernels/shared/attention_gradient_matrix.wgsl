// shared/attention_gradient_matrix.wgsl — attention's gradient with subgroup matrices: own rows by walked rows, and sums over the latter
//
// Expects   `params` of type Params, which this declares
// Gives     sh_walk: walked rows of two operands, a and then b · sh_turned: the same turned round, a column a row; of b where TURNS is 2
//           sh_values: two values, the second from S_WORDS on, for each own and each walked row, f32 and then f16
//           multiply, add: from walked rows to values, and from values in halves to sums

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
