// shared/register_tile.wgsl — a tile of sums in registers, its operands in workgroup memory (src/ops/tiles/register-tile.ts)
//
// Expects   nothing

//! specialise
const BM: u32 = 64u;
const BN: u32 = 64u;
const BK: u32 = 16u;
const TM: u32 = 4u;
const TN: u32 = 1u;
//! end
const TX: u32 = BN / (4u * TN);
const TY: u32 = BM / TM;
const WG: u32 = TX * TY;
const KV: u32 = BK / 4u;
const X_STRIDE: u32 = KV + 1u;
const W_STRIDE: u32 = BN / 4u + 4u;
const W_COUNT: u32 = BK * BN / 4u;
const W_LOADS: u32 = (W_COUNT + WG - 1u) / WG;
var<workgroup> sh_x: array<vec4<f32>, BM * X_STRIDE>;
var<workgroup> sh_w: array<vec4<f32>, BK * W_STRIDE>;
