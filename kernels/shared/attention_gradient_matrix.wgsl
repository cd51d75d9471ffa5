// shared/attention_gradient_matrix.wgsl — attention's gradient with subgroup matrices: own rows by walked rows, and sums over the latter
//
// Expects   `params` of type Params, which this declares
// Gives     sh_a, sh_b: walked rows of two operands · sh_at, sh_bt: the same turned round, a column a row · sh_s, sh_t: a value for each
//           own and each walked row, f32 and then f16

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
