// matmul_tn_subgroup_matrix.wgsl — y = aᵀ · b in f16, the sums over tokens of outer products, for GPUs with matrix units
//
// Shapes    a [M, P] and b [M, Q] f16 row-major · y as in matmul_tn_tiled.wgsl
// Matrices  as in matmul_subgroup_matrix.wgsl, f16 in and f32 sums
// Work      one workgroup per split and BM × BN tile of y, SGX · SGY subgroups; a subgroup owns SM × SN matrices of sums. Tiles of BK
//           tokens are staged in workgroup memory by column, 8 tokens to a word of it: blocks of 8 × 4 halves are turned in registers on
//           the way. Only what is left of a split behind its last whole tile is staged with a look at where the tokens end. The sums go
//           through the same memory to threads that own blocks of 4 × 4.
// Dispatch  (ceil(Q/BN) · ceil(P/BM) · splits, folded, 1); neighbours share columns of a
// Cost      2·M·P·Q flops; BM·BN/(BM + BN) = 64 flops a byte of memory at 128 × 128; compute bound
// Occupancy 6 waves a SIMD or more on RDNA 3: with 64 tokens at once (36 KB) each of 256 lanes has one block of a and one of b
// Banks     A column has an odd number of 16-byte words, so that 8 lanes, which store or load words at once, meet all 32 banks
// Needs     rows of a and b of a multiple of 4 (checked in src/ops/matmul_tn.ts) · SUBGROUP: the adapter's largest subgroup
// Numerics  f16 products, f32 sums, in the order of the tokens
enable f16, subgroups, chromium_experimental_subgroup_matrix;
// A subgroup's lanes agree on what it does: lane / subgroup_size is the same in all of them, which the compiler cannot know.
diagnostic(off, chromium.subgroup_matrix_uniformity);
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
// Four halves a word.
@group(0) @binding(1) var<storage, read> a: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> b: array<vec2<u32>>;
//! part shared/matmul_tn.wgsl
// m: tokens bound · chunk: those of a split · a4, b4: vectors of a row of a and of b · p, q: columns of them, from the vectors p_first and
// q_first on · tiles: of one split · groups: workgroups, tiles of all splits · part4: vectors that a split writes · stride4: of a row of y
struct Params {
  m: u32, chunk: u32, a4: u32, b4: u32, p: u32, q: u32, p_first: u32, q_first: u32, tiles: u32, groups: u32, part4: u32, stride4: u32,
}
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
//! specialise
// y is [q, p] in place of [p, q].
const TRANSPOSED: bool = false;
// y holds the sums over tokens of the dispatches before.
const ACCUMULATE: bool = false;
//! end

fn put(row: u32, column4: u32, split: u32, v: vec4<f32>) {
  let at = split * params.part4 + row * params.stride4 + column4;
  if (ACCUMULATE) { y[at] += v; } else { y[at] = v; }
}

// Sums of 4 columns of b, from q on, for each of 4 columns of a, from p on. Rows of y are what they are, columns whole vectors.
fn store(block: mat4x4<f32>, p: u32, q: u32, split: u32) {
  if (p >= params.p || q >= params.q) { return; }
  if (TRANSPOSED) {
    let turned = transpose(block);
    put(q, p / 4u, split, turned[0]);
    if (q + 1u < params.q) { put(q + 1u, p / 4u, split, turned[1]); }
    if (q + 2u < params.q) { put(q + 2u, p / 4u, split, turned[2]); }
    if (q + 3u < params.q) { put(q + 3u, p / 4u, split, turned[3]); }
  } else {
    put(p, q / 4u, split, block[0]);
    if (p + 1u < params.p) { put(p + 1u, q / 4u, split, block[1]); }
    if (p + 2u < params.p) { put(p + 2u, q / 4u, split, block[2]); }
    if (p + 3u < params.p) { put(p + 3u, q / 4u, split, block[3]); }
  }
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
// Blocks of 8 tokens × 4 columns of a and of b, those of one thread, and blocks of 4 × 4 sums.
const A_BLOCKS: u32 = BM / 4u * KV;
const B_BLOCKS: u32 = BN / 4u * KV;
const A_OWN: u32 = (A_BLOCKS + WG - 1u) / WG;
const B_OWN: u32 = (B_BLOCKS + WG - 1u) / WG;
const BLOCKS: u32 = Y_COUNT / 4u;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32, @builtin(subgroup_size) lanes: u32,
) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let split = group / params.tiles;
  let tile = group % params.tiles;
  let tiles_q = (params.q + BN - 1u) / BN;
  let p0 = tile / tiles_q * BM;
  let q0 = tile % tiles_q * BN;
  let subgroup = lane / lanes;
  let part_m = subgroup % SGS / SGX;
  let part_n = subgroup % SGX;
  let first = split * params.chunk;
  let end = min(first + params.chunk, params.m);

  // Where a tile is small, half of the threads have blocks of a and the others blocks of b.
  let lane_b = (lane + WG / 2u) % WG;
  // Where the thread's blocks lie in a tile of tokens. Columns past the end are the last once more; their results are not stored.
  var a_at: array<u32, A_OWN>;
  var b_at: array<u32, B_OWN>;
  for (var i = 0u; i < A_OWN; i++) {
    let at = lane + i * WG;
    a_at[i] = at % KV * 8u * params.a4 + min(params.p_first + p0 / 4u + at / KV, params.a4 - 1u);
  }
  for (var i = 0u; i < B_OWN; i++) {
    let at = lane_b + i * WG;
    b_at[i] = at % KV * 8u * params.b4 + min(params.q_first + q0 / 4u + at / KV, params.b4 - 1u);
  }

  var acc: array<array<subgroup_matrix_result<f32, NN, MM>, SN>, SM>;
  var t0 = first;
  if (t0 + BK <= end) {
    // The test stands at the end: compilers move addresses out of a loop only where its body runs in any case.
    loop {
      for (var i = 0u; i < A_OWN; i++) {
        let at = lane + i * WG;
        if (A_BLOCKS % WG == 0u || at < A_BLOCKS) {
          var block: array<vec2<u32>, 8>;
          for (var k = 0u; k < 8u; k++) { block[k] = a[a_at[i] + (t0 + k) * params.a4]; }
          let turned = turn(block);
          for (var j = 0u; j < 4u; j++) { sh[(at % A_BLOCKS / KV * 4u + j) * STRIDE + at % KV] = turned[j]; }
        }
      }
      for (var i = 0u; i < B_OWN; i++) {
        let at = lane_b + i * WG;
        if (B_BLOCKS % WG == 0u || at < B_BLOCKS) {
          var block: array<vec2<u32>, 8>;
          for (var k = 0u; k < 8u; k++) { block[k] = b[b_at[i] + (t0 + k) * params.b4]; }
          let turned = turn(block);
          for (var j = 0u; j < 4u; j++) { sh[W_BASE + (at % B_BLOCKS / KV * 4u + j) * STRIDE + at % KV] = turned[j]; }
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
        t0 += BK;
        break if t0 + BK > end;
      }
    }
  }
  if (t0 < end) {
    // Tokens past the end are the last once more in b and zeros in a: they add nothing.
    for (var i = 0u; i < A_OWN; i++) {
      let at = lane + i * WG;
      if (A_BLOCKS % WG == 0u || at < A_BLOCKS) {
        var block: array<vec2<u32>, 8>;
        for (var k = 0u; k < 8u; k++) {
          let past = max(t0 + at % KV * 8u + k, end - 1u) - (end - 1u);
          block[k] = select(vec2<u32>(), a[a_at[i] + (t0 + k - past) * params.a4], past == 0u);
        }
        let turned = turn(block);
        for (var j = 0u; j < 4u; j++) { sh[(at % A_BLOCKS / KV * 4u + j) * STRIDE + at % KV] = turned[j]; }
      }
    }
    for (var i = 0u; i < B_OWN; i++) {
      let at = lane_b + i * WG;
      if (B_BLOCKS % WG == 0u || at < B_BLOCKS) {
        var block: array<vec2<u32>, 8>;
        for (var k = 0u; k < 8u; k++) {
          let past = max(t0 + at % KV * 8u + k, end - 1u) - (end - 1u);
          block[k] = b[b_at[i] + (t0 + k - past) * params.b4];
        }
        let turned = turn(block);
        for (var j = 0u; j < 4u; j++) { sh[W_BASE + (at % B_BLOCKS / KV * 4u + j) * STRIDE + at % KV] = turned[j]; }
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
  }

  for (var i = 0u; i < SM; i++) {
    //! part shared/matrix_tile_store.wgsl
    if (subgroup < SGS) {
      for (var j = 0u; j < SN; j++) {
        subgroupMatrixStore<row_major>(&sh, subgroup * MM * Y_STRIDE + j * (NN / 4u), acc[i][j], Y_STRIDE);
      }
    }
    workgroupBarrier();
    //! part ends
    for (var at = lane; at < BLOCKS; at += WG) {
      let row = at / Y_ROW * 4u;
      let part = row / MM;
      let at_row = row * Y_STRIDE + at % Y_ROW;
      let sums = mat4x4<f32>(
        bitcast<vec4<f32>>(sh[at_row]), bitcast<vec4<f32>>(sh[at_row + Y_STRIDE]),
        bitcast<vec4<f32>>(sh[at_row + 2u * Y_STRIDE]), bitcast<vec4<f32>>(sh[at_row + 3u * Y_STRIDE]));
      store(sums, p0 + (part / SGX * SM + i) * MM + row % MM, q0 + part % SGX * SN * NN + at % Y_ROW * 4u, split);
    }
    workgroupBarrier();
  }
}
