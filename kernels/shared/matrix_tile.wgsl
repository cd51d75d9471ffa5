// shared/matrix_tile.wgsl — a tile of sums in subgroup matrices, its operands in workgroup memory (src/ops/tiles/matrix-tile.ts)
//
// Expects   nothing

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
