// matmul_tn_tiled.wgsl — y = aᵀ · b, the sums over tokens of outer products, for GPUs
//
// Shapes    a [M, P] and b [M, Q] row-major, as activations lie · y [P, Q], or [Q, P] with TRANSPOSED; of several splits of the tokens
//           one behind the other, summed by sum_parts.wgsl
// Work      one workgroup per split and BM × BN tile of y; a thread owns TM/4 vectors of columns of a × TN of b in registers, TY and TX
//           vectors apart. Tiles of BK tokens are staged in workgroup memory as they lie; the next one is fetched into registers while
//           this one is used.
// Dispatch  (ceil(Q/BN) · ceil(P/BM) · splits, folded, 1); neighbours share columns of a
// Cost      2·M·P·Q flops; BM·BN/(2·(BM + BN)) = 32 flops a byte of memory at 128 × 128 in f32; compute bound
// Banks     Lanes store and read neighbouring vectors, or one together: no two meet in a bank
// Needs     rows of a and b of a multiple of 4, chunk % BK == 0 (checked in src/ops/matmul_tn.ts)
// Numerics  f32 accumulation for every storage type, in the order of the tokens
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias A = f32;
alias B = f32;
const BM: u32 = 64u;
const BN: u32 = 64u;
const BK: u32 = 16u;
const TM: u32 = 4u;
const TN: u32 = 1u;
//! end
@group(0) @binding(1) var<storage, read> a: array<vec4<A>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<B>>;
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
const TV: u32 = TM / 4u;
const TX: u32 = BN / (4u * TN);
const TY: u32 = BM / TM;
const WG: u32 = TX * TY;
// Vectors of a token.
const AV: u32 = BM / 4u;
const BV: u32 = BN / 4u;
const A_COUNT: u32 = BK * AV;
const B_COUNT: u32 = BK * BV;
const A_LOADS: u32 = (A_COUNT + WG - 1u) / WG;
const B_LOADS: u32 = (B_COUNT + WG - 1u) / WG;
var<workgroup> sh_a: array<vec4<f32>, A_COUNT>;
var<workgroup> sh_b: array<vec4<f32>, B_COUNT>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let split = group / params.tiles;
  let tile = group % params.tiles;
  let tiles_q = (params.q + BN - 1u) / BN;
  let p0 = tile / tiles_q * BM;
  let q0 = tile % tiles_q * BN;
  let tx = lane % TX;
  let ty = lane / TX;
  let last = params.m - 1u;
  let first = split * params.chunk;
  let end = min(first + params.chunk, params.m);

  // What this thread fetches of every tile. Vectors past the end are the last once more; their results are not stored.
  var a_at: array<u32, A_LOADS>;
  var b_at: array<u32, B_LOADS>;
  var a_next: array<vec4<A>, A_LOADS>;
  var b_next: array<vec4<B>, B_LOADS>;
  for (var i = 0u; i < A_LOADS; i++) {
    let at = lane + i * WG;
    a_at[i] = min(params.p_first + p0 / 4u + at % AV, params.a4 - 1u);
    a_next[i] = a[min(first + at / AV, last) * params.a4 + a_at[i]];
  }
  for (var i = 0u; i < B_LOADS; i++) {
    let at = lane + i * WG;
    b_at[i] = min(params.q_first + q0 / 4u + at % BV, params.b4 - 1u);
    b_next[i] = b[min(first + at / BV, last) * params.b4 + b_at[i]];
  }

  var acc: array<array<vec4<f32>, TN>, TM>;
  for (var t = first; t < end; t += BK) {
    for (var i = 0u; i < A_LOADS; i++) {
      let at = lane + i * WG;
      // Tokens past the end add nothing.
      if (A_COUNT % WG == 0u || at < A_COUNT) { sh_a[at] = select(vec4<f32>(), vec4<f32>(a_next[i]), t + at / AV < end); }
    }
    for (var i = 0u; i < B_LOADS; i++) {
      let at = lane + i * WG;
      if (B_COUNT % WG == 0u || at < B_COUNT) { sh_b[at] = vec4<f32>(b_next[i]); }
    }
    workgroupBarrier();
    for (var i = 0u; i < A_LOADS; i++) { a_next[i] = a[min(t + BK + (lane + i * WG) / AV, last) * params.a4 + a_at[i]]; }
    for (var i = 0u; i < B_LOADS; i++) { b_next[i] = b[min(t + BK + (lane + i * WG) / BV, last) * params.b4 + b_at[i]]; }
    //! part shared/tn_tile_multiply.wgsl
    for (var k = 0u; k < BK / 4u; k++) {
      for (var c = 0u; c < 4u; c++) {
        var own: array<vec4<f32>, TN>;
        for (var j = 0u; j < TN; j++) { own[j] = sh_b[(k * 4u + c) * BV + j * TX + tx]; }
        for (var i = 0u; i < TV; i++) {
          let v = sh_a[(k * 4u + c) * AV + i * TY + ty];
          for (var r = 0u; r < 4u; r++) {
            for (var j = 0u; j < TN; j++) { acc[i * 4u + r][j] = fma(vec4<f32>(v[r]), own[j], acc[i * 4u + r][j]); }
          }
        }
      }
    }
    //! part ends
    workgroupBarrier();
  }
  for (var i = 0u; i < TV; i++) {
    for (var j = 0u; j < TN; j++) {
      let sums = mat4x4<f32>(acc[i * 4u][j], acc[i * 4u + 1u][j], acc[i * 4u + 2u][j], acc[i * 4u + 3u][j]);
      store(sums, p0 + (i * TY + ty) * 4u, q0 + (j * TX + tx) * 4u, split);
    }
  }
}
