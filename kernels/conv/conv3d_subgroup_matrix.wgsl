// conv3d_subgroup_matrix.wgsl — causal convolution over time, rows and columns as an implicit matmul in f16, for GPUs with matrix units
//
// Shapes    x [B, T, H, W, Cin] f16 · w [N, Cin, KT, KH, KW] f16 in rows, [N][KT][KH][KW][Cin] · y [B, T', H', W', N] · bias [N]
//           residual as y, f32 · borders and doubling as in conv3d_tiled.wgsl
// Matrices  MM × NN × KK, f16 in and f32 sums, one of the adapter's configurations: 16×16×16, 8×16×16, 8×8×16 or 8×8×8
// Work      M = B·T'·H'·W' positions × N channels × (taps · Cin), tiles and subgroups as in matmul_subgroup_matrix.wgsl. Taps are the
//           outer loop and channels the inner one, so where a position's input lies is worked out once a tap.
// Dispatch  (ceil(N/BN) · ceil(M/BM), folded, 1); neighbours share positions
// Cost      2·M·N·Cin·KT·KH·KW flops; BM·BN/(BM + BN) = 64 flops a byte of memory at 128 × 128, more where the cache keeps what
//           taps share; compute bound
// Registers as in matmul_subgroup_matrix.wgsl: 192 on RDNA 3 at 4 × 4 of 16×16, 8 waves a SIMD
// Memory    22 KB at 128 × 128 × 32, 2 of them where the positions lie; loads and banks as in matmul_subgroup_matrix.wgsl
// Needs     BK divides Cin, a multiple of KK and of 8 · N a multiple of 4 (chosen in src/ops/conv3d.ts)
// Numerics  f16 products, f32 sums
enable f16, subgroups, chromium_experimental_subgroup_matrix;
// A subgroup's lanes agree on what it does: lane / subgroup_size is the same in all of them, which the compiler cannot know.
diagnostic(off, chromium.subgroup_matrix_uniformity);
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
// Eight halves a word; cin4, x_base, y_base and r_base still count in fours.
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;
//! part shared/silu.wgsl
fn silu(v: vec4<f32>) -> vec4<f32> { return v / (1.0 + exp(clamp(-v, vec4<f32>(-80.0), vec4<f32>(80.0)))); }
//! part ends
//! part shared/conv3d.wgsl
// count: output positions of this dispatch, or runs of them in a row · n: channels of y · cin4: vectors of channels of x
// t_in: frames of x · h_in, w_in: rows and columns of x, after nearest upsampling · t_out, h_out, w_out: output frames, rows, columns of
// this dispatch · t_origin, h_origin: frame and row of x under tap 0 of output frame 0, row 0
// kernel: 4 bits each of taps in time, rows, columns; strides in time, rows, columns; dilation in time; columns padded left, −8 to 7
// switches: bits below, first tap in time << 16, end of taps in time << 24
// x_base, y_base, r_base: what is added to an index into the whole tensor; wraps where the binding is a window of it
struct Params {
  count: u32, n: u32, cin4: u32,
  t_in: u32, h_in: u32, w_in: u32,
  t_out: u32, h_out: u32, w_out: u32,
  t_origin: i32, h_origin: i32,
  kernel: u32, switches: u32,
  x_base: u32, y_base: u32, r_base: u32,
}
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Y>>;
//! specialise
alias Y = f32;
// Bits of `switches`. They stand in the block so that the op reads their numbers here; nothing replaces them.
const BIAS: u32 = 1u;
const RESIDUAL: u32 = 2u;
const SILU: u32 = 4u;
const ACCUMULATE: u32 = 8u;
const REPLICATE: u32 = 16u;
const DOUBLED: u32 = 32u;
const DOUBLED_FRAMES: u32 = 64u;
const FIRST_APART: u32 = 128u;
//! end

fn has(bit: u32) -> bool { return (params.switches & bit) != 0u; }
fn field(index: u32) -> u32 { return (params.kernel >> (4u * index)) & 15u; }

// Frame of x that lies `t` frames after its first: before the first comes the first again; upsampling repeats frames.
fn source_frame(t: i32) -> u32 {
  let frame = u32(max(t, 0));
  if (!has(DOUBLED_FRAMES)) { return frame; }
  return (frame + select(0u, 1u, has(FIRST_APART))) >> 1u;
}

fn epilogue(sum: vec4<f32>, at: u32, column: u32) -> vec4<f32> {
  var v = sum;
  if (has(ACCUMULATE)) { v += vec4<f32>(y[params.y_base + at]); }
  if (has(BIAS)) { v += bias[column]; }
  if (has(RESIDUAL)) { v += residual[params.r_base + at]; }
  if (has(SILU)) { v = silu(v); }
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
var<workgroup> sh_position: array<vec4<i32>, BM>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32, @builtin(subgroup_size) lanes: u32,
) {
  let group = wid.y * groups.x + wid.x;
  let tiles_n = (params.n + BN - 1u) / BN;
  let m0 = (group / tiles_n) * BM;
  if (m0 >= params.count) { return; }
  let n0 = (group % tiles_n) * BN;
  let subgroup = lane / lanes;
  let part_m = subgroup % SGS / SGX;
  let part_n = subgroup % SGX;
  let kernel_h = field(1u);
  let kernel_w = field(2u);
  let up = select(0u, 1u, has(DOUBLED));
  let cin8 = params.cin4 / 2u;
  let row = (params.w_in >> up) * cin8;
  let plane = (params.h_in >> up) * row;

  // Where the tile's positions lie in x under tap 0: the vector of their batch entry, frame, row, column. Kept in workgroup memory, for
  // the registers are needed. Positions past the end are the last once more; their results are not stored.
  for (var r = lane; r < BM; r += WG) {
    let m = min(m0 + r, params.count - 1u);
    let row_out = m / params.w_out;
    sh_position[r] = vec4<i32>(
      // x_base wraps, so it is halved as a signed number.
      (i32(params.x_base) >> 1u) + i32(row_out / params.h_out / params.t_out * params.t_in * plane),
      i32((row_out / params.h_out % params.t_out) * field(3u)) + params.t_origin,
      i32((row_out % params.h_out) * field(4u)) + params.h_origin,
      i32((m % params.w_out) * field(5u)) - (i32(params.kernel) >> 28u),
    );
  }
  workgroupBarrier();
  // Channels past the end lie in the next tile's rows, or outside of the binding, which reads as something; they are not stored.
  let weight_row = field(0u) * kernel_h * kernel_w * cin8;
  let weight_at = (n0 + lane / KV) * weight_row + lane % KV;

  var acc: array<array<subgroup_matrix_result<f32, NN, MM>, SN>, SM>;
  var at: array<u32, X_LOADS>;
  var inside: array<bool, X_LOADS>;
  let taps_end = (params.switches >> 24u) * kernel_h * kernel_w;
  for (var tap = ((params.switches >> 16u) & 255u) * kernel_h * kernel_w; tap < taps_end; tap++) {
    let kt = tap / (kernel_h * kernel_w);
    let kh = tap / kernel_w % kernel_h;
    let kw = tap % kernel_w;
    for (var i = 0u; i < X_LOADS; i++) {
      let s = lane + i * WG;
      let p = sh_position[min(s / KV, BM - 1u)];
      let h = p.z + i32(kh);
      let column = p.w + i32(kw);
      inside[i] = has(REPLICATE) || (h >= 0 && h < i32(params.h_in) && column >= 0 && column < i32(params.w_in));
      at[i] = u32(p.x) + source_frame(p.y + i32(kt * field(6u))) * plane
        + (u32(clamp(h, 0, i32(params.h_in) - 1)) >> up) * row + (u32(clamp(column, 0, i32(params.w_in) - 1)) >> up) * cin8 + s % KV;
    }
    // The test stands at the end: compilers move addresses out of a loop only where its body runs in any case.
    var k0 = 0u;
    loop {
      for (var i = 0u; i < X_LOADS; i++) {
        let s = lane + i * WG;
        if (BM * KV % WG == 0u || s < BM * KV) { sh[s / KV * STRIDE + s % KV] = select(vec4<u32>(), x[at[i] + k0], inside[i]); }
      }
      for (var i = 0u; i < W_LOADS; i++) {
        let s = lane + i * WG;
        if (BN * KV % WG == 0u || s < BN * KV) {
          sh[W_BASE + s / KV * STRIDE + s % KV] = w[weight_at + i * (WG / KV) * weight_row + tap * cin8 + k0];
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
        break if k0 >= cin8;
      }
    }
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
    for (var s = lane; s < Y_COUNT; s += WG) {
      let r = s / Y_ROW;
      let part = r / MM;
      let m = m0 + (part / SGX * SM + i) * MM + r % MM;
      let n = n0 + part % SGX * SN * NN + s % Y_ROW * 4u;
      let out = m * (params.n / 4u) + n / 4u;
      if (m < params.count && n < params.n) {
        y[params.y_base + out] = vec4<Y>(epilogue(bitcast<vec4<f32>>(sh[r * Y_STRIDE + s % Y_ROW]), out, n / 4u));
      }
    }
    workgroupBarrier();
  }
}
