// matmul_subgroup_matrix.wgsl — y = epilogue(x · wᵀ + bias) in f16, for GPUs with matrix units
//
// Shapes    x [M, K] f16 · w [N, K] f16 in rows of K · y [M, N] · the others as in matmul_tiled.wgsl
//           with INPUT_ROWS y = x · w, w [K, N] in rows of N: blocks of 8 × 8 halves are turned on the way into workgroup memory
// Matrices  MM × NN × KK, f16 in and f32 sums, one of the adapter's configurations: 16×16×16, 8×16×16, 8×8×16 or 8×8×8
// Work      one workgroup per BM × BN tile of y, SGX · SGY subgroups; a subgroup owns SM × SN matrices of sums. Tiles of BK inputs are
//           staged in workgroup memory, both with K along rows, 8 halves to a word of it: a lane's part of a matrix is whole words.
//           The sums go through the same memory, SN matrices of a subgroup at a time, to threads that own 4 columns of a row.
// Dispatch  (ceil(N/BN) · ceil(M/BM), folded, 1); neighbours share rows of x
// Cost      2·M·N·K flops; BM·BN/(BM + BN) = 64 flops a byte of memory at 128 × 128; compute bound
// Registers SM · SN matrices of sums (64 of wave64 at 4 × 4 of 16×16), SM + SN of operands: 192 on RDNA 3, 8 waves a SIMD
// Occupancy 6 waves a SIMD or more on RDNA 3: 8, but with INPUT_ROWS 64 inputs are staged at once (36 KB), for each two of 256 lanes a
//           block of w
// Memory    20 KB at 128 × 128 × 32. 32 loads of 16 bytes feed 32 matrix instructions of a subgroup.
// Banks     A row has an odd number of 16-byte words, so that 8 rows, which a matrix load reads at once, meet all 32 banks
// Needs     K % BK == 0, BK a multiple of KK and of 8, N % 4 == 0 (checked in src/ops/matmul.ts) · SUBGROUP: the adapter's largest
//           subgroup; of more and smaller ones some only stage
// Numerics  f16 products, f32 sums
enable f16, subgroups, chromium_experimental_subgroup_matrix;
// A subgroup's lanes agree on what it does: lane / subgroup_size is the same in all of them, which the compiler cannot know.
diagnostic(off, chromium.subgroup_matrix_uniformity);
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
// Eight halves a word.
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;
//! part shared/gelu_tanh.wgsl
fn gelu_tanh(v: vec4<f32>) -> vec4<f32> {
  // 0.5 v (1 + tanh(u)) = v · sigmoid(2u). Past ±10 the sigmoid is 0 or 1 to the last bit; bounding v there keeps the cube
  // and the exponential finite.
  let c = clamp(v, vec4<f32>(-10.0), vec4<f32>(10.0));
  return v / (1.0 + exp(-1.5957691216057308 * (c + 0.044715 * c * c * c)));
}
//! part ends
//! part shared/silu.wgsl
fn silu(v: vec4<f32>) -> vec4<f32> { return v / (1.0 + exp(clamp(-v, vec4<f32>(-80.0), vec4<f32>(80.0)))); }
//! part ends
//! part shared/matmul.wgsl
// m: rows of x · k: inputs of this dispatch, from x_first on of the x_width in a row of x · n: columns of this dispatch, from n_base on of
// y's n_total · tiles: workgroups · y_first: column that y begins with · y_width: columns of a row of y, or of a head · y_rows: rows of a
// head · y_row: the first one
struct Params {
  m: u32, n: u32, k: u32, n_base: u32, n_total: u32, tiles: u32,
  y_first: u32, y_width: u32, y_rows: u32, y_row: u32, x_first: u32, x_width: u32,
}
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> gate: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> gate_row: array<u32>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<Y>>;
//! specialise
alias Y = f32;
// y = x · w in place of x · wᵀ: the rows of w, packed as for the other product, are its inputs.
const INPUT_ROWS: bool = false;
const BIAS: bool = false;
const GELU: bool = false;
const SILU: bool = false;
const RESIDUAL: bool = false;
const ACCUMULATE: bool = false;
const ADDEND: bool = false;
const GATE: bool = false;
//! end

// Where a vector of columns begins in y, whose rows are y_width wide: by row that is N; by head, D, and each head has y_rows.
fn place(column: u32) -> u32 {
  let width = params.y_width / 4u;
  let here = column - params.y_first / 4u;
  return (here / width * params.y_rows + params.y_row) * width + here % width;
}

fn epilogue(sum: vec4<f32>, m: u32, column: u32, at: u32) -> vec4<f32> {
  var v = sum;
  if (BIAS) { v += bias[column]; }
  if (ADDEND) { v += residual[m * (params.n_total / 4u) + column]; }
  if (GELU) { v = gelu_tanh(v); }
  if (SILU) { v = silu(v); }
  if (GATE) { v *= gate[gate_row[m] * (params.n_total / 4u) + column]; }
  if (RESIDUAL) { v += residual[m * (params.n_total / 4u) + column]; }
  if (ACCUMULATE) { v += vec4<f32>(y[at]); }
  return v;
}
//! part ends

//! part shared/matrix_tile.wgsl
//! specialise
const MM: u32 = 16u;
const NN: u32 = 16u;
const KK: u32 = 16u;
const SUBGROUP: u32 = 32u;
const SGX: u32 = 2u;
const SGY: u32 = 2u;
const SM: u32 = 4u;
const SN: u32 = 4u;
const BK: u32 = 32u;
//! end
const BM: u32 = SGY * SM * MM;
const BN: u32 = SGX * SN * NN;
const SGS: u32 = SGX * SGY;
const WG: u32 = SGS * SUBGROUP;
const KV: u32 = BK / 8u;
const STRIDE: u32 = KV + 1u - KV % 2u;
const W_BASE: u32 = BM * STRIDE;
const X_LOADS: u32 = (BM * KV + WG - 1u) / WG;
const W_LOADS: u32 = (BN * KV + WG - 1u) / WG;
// Sums of one row of matrices, as vectors of 4.
const Y_ROW: u32 = SN * NN / 4u;
const Y_STRIDE: u32 = Y_ROW + 1u;
const Y_COUNT: u32 = SGS * MM * Y_ROW;
var<workgroup> sh: array<vec4<u32>, max((BM + BN) * STRIDE, SGS * MM * Y_STRIDE)>;
//! part ends

//! part shared/matrix_turn.wgsl
// The halves of two inputs in the lower, and in the upper, half of a word.
fn lower_pair(a: u32, b: u32) -> u32 { return bitcast<u32>(vec2<f16>(bitcast<vec2<f16>>(a).x, bitcast<vec2<f16>>(b).x)); }
fn upper_pair(a: u32, b: u32) -> u32 { return bitcast<u32>(vec2<f16>(bitcast<vec2<f16>>(a).y, bitcast<vec2<f16>>(b).y)); }

// w: of 8 inputs, 4 columns each. Of every column, its 8 inputs in a word.
fn turn(w: array<vec2<u32>, 8>) -> array<vec4<u32>, 4> {
  var columns: array<vec4<u32>, 4>;
  for (var j = 0u; j < 2u; j++) {
    columns[2u * j] = vec4<u32>(
      lower_pair(w[0][j], w[1][j]), lower_pair(w[2][j], w[3][j]), lower_pair(w[4][j], w[5][j]), lower_pair(w[6][j], w[7][j]));
    columns[2u * j + 1u] = vec4<u32>(
      upper_pair(w[0][j], w[1][j]), upper_pair(w[2][j], w[3][j]), upper_pair(w[4][j], w[5][j]), upper_pair(w[6][j], w[7][j]));
  }
  return columns;
}
//! part ends

// With INPUT_ROWS: blocks of 8 inputs × 8 columns of w, and those of one thread.
const W_BLOCKS: u32 = BN / 8u * KV;
const W_OWN: u32 = (W_BLOCKS + WG - 1u) / WG;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32, @builtin(subgroup_size) lanes: u32,
) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles) { return; }
  let tiles_n = (params.n + BN - 1u) / BN;
  let m0 = (group / tiles_n) * BM;
  let n0 = (group % tiles_n) * BN;
  let subgroup = lane / lanes;
  let part_m = subgroup % SGS / SGX;
  let part_n = subgroup % SGX;
  let k8 = params.k / 8u;
  // Words of a row of w with INPUT_ROWS.
  let w8 = (params.n_total + 7u) / 8u;

  // Rows past the end are the last once more; their results are not stored.
  var x_at: array<u32, X_LOADS>;
  var w_at: array<u32, W_LOADS>;
  var block_at: array<u32, W_OWN>;
  for (var i = 0u; i < X_LOADS; i++) {
    let at = lane + i * WG;
    x_at[i] = min(m0 + at / KV, params.m - 1u) * (params.x_width / 8u) + params.x_first / 8u + at % KV;
  }
  for (var i = 0u; i < W_LOADS; i++) {
    let at = lane + i * WG;
    w_at[i] = min(n0 + at / KV, params.n - 1u) * k8 + at % KV;
  }
  for (var i = 0u; i < W_OWN; i++) {
    let at = lane + i * WG;
    block_at[i] = at % KV * 8u * w8 + min(n0 / 8u + at / KV, w8 - 1u);
  }

  var acc: array<array<subgroup_matrix_result<f32, NN, MM>, SN>, SM>;
  // The test stands at the end: compilers move addresses out of a loop only where its body runs in any case.
  var k0 = 0u;
  loop {
    for (var i = 0u; i < X_LOADS; i++) {
      let at = lane + i * WG;
      if (BM * KV % WG == 0u || at < BM * KV) { sh[at / KV * STRIDE + at % KV] = x[x_at[i] + k0]; }
    }
    if (INPUT_ROWS) {
      for (var i = 0u; i < W_OWN; i++) {
        let at = lane + i * WG;
        if (W_BLOCKS % WG == 0u || at < W_BLOCKS) {
          var block: array<vec4<u32>, 8>;
          for (var k = 0u; k < 8u; k++) { block[k] = w[block_at[i] + (k0 * 8u + k) * w8]; }
          for (var h = 0u; h < 2u; h++) {
            var part: array<vec2<u32>, 8>;
            for (var k = 0u; k < 8u; k++) { part[k] = select(block[k].xy, block[k].zw, h == 1u); }
            let turned = turn(part);
            for (var j = 0u; j < 4u; j++) { sh[W_BASE + (at % W_BLOCKS / KV * 8u + h * 4u + j) * STRIDE + at % KV] = turned[j]; }
          }
        }
      }
    } else {
      for (var i = 0u; i < W_LOADS; i++) {
        let at = lane + i * WG;
        if (BN * KV % WG == 0u || at < BN * KV) { sh[W_BASE + at / KV * STRIDE + at % KV] = w[w_at[i] + k0]; }
      }
    }
    workgroupBarrier();
    //! part shared/matrix_tile_multiply.wgsl
    for (var k = 0u; k < BK / KK; k++) {
      var b: array<subgroup_matrix_right<f16, NN, KK>, SN>;
      for (var j = 0u; j < SN; j++) {
        b[j] = subgroupMatrixLoad<subgroup_matrix_right<f16, NN, KK>, col_major>(
          &sh, W_BASE + (part_n * SN + j) * NN * STRIDE + k * (KK / 8u), STRIDE);
      }
      for (var i = 0u; i < SM; i++) {
        let a = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(
          &sh, (part_m * SM + i) * MM * STRIDE + k * (KK / 8u), STRIDE);
        for (var j = 0u; j < SN; j++) { acc[i][j] = subgroupMatrixMultiplyAccumulate(a, b[j], acc[i][j]); }
      }
    }
    //! part ends
    workgroupBarrier();
    continuing {
      k0 += KV;
      break if k0 >= k8;
    }
  }

  // Columns count from n_base: w may be a window of rows of a larger weight; y always has whole rows, or whole heads.
  for (var i = 0u; i < SM; i++) {
    //! part shared/matrix_tile_store.wgsl
    if (subgroup < SGS) {
      for (var j = 0u; j < SN; j++) {
        subgroupMatrixStore<row_major>(&sh, subgroup * MM * Y_STRIDE + j * (NN / 4u), acc[i][j], Y_STRIDE);
      }
    }
    workgroupBarrier();
    //! part ends
    for (var at = lane; at < Y_COUNT; at += WG) {
      let row = at / Y_ROW;
      let part = row / MM;
      let m = m0 + (part / SGX * SM + i) * MM + row % MM;
      let n = n0 + part % SGX * SN * NN + at % Y_ROW * 4u;
      let column = (params.n_base + n) / 4u;
      if (m < params.m && n < params.n) {
        let to = place(column) + m * (params.y_width / 4u);
        y[to] = vec4<Y>(epilogue(bitcast<vec4<f32>>(sh[row * Y_STRIDE + at % Y_ROW]), m, column, to));
      }
    }
    workgroupBarrier();
  }
}
