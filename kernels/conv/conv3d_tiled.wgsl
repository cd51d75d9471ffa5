// conv3d_tiled.wgsl — causal convolution over time, rows and columns as an implicit matmul, for GPUs
//
// Shapes    x [B, T, H, W, Cin] · w [N, Cin, KT, KH, KW] packed in panels, [ceil(N/16)][KT][KH][KW][Cin][16]
//           y [B, T', H', W', N] · bias [N] · residual as y, f32
//           Before the first frame x's first frame repeats, around a frame lie zeros (REPLICATE: its border).
//           DOUBLED: x is read as if its rows and columns were doubled; DOUBLED_FRAMES: its frames too, FIRST_APART: but for the first.
// Work      an implicit matmul of M = B·T'·H'·W' positions × N channels × (taps · Cin). One workgroup per BM × BN tile; a thread
//           owns TM positions × TN vectors of 4 channels in registers, positions TY and vectors TX apart. Tiles of BK inputs are staged
//           in workgroup memory; the next one of a tap is fetched into registers while this one is used. Taps are the outer loop
//           and channels the inner one, so where a position's input lies is worked out once a tap.
// Dispatch  (ceil(N/BN) · ceil(M/BM), folded, 1); neighbours share positions
// Cost      2·M·N·Cin·KT·KH·KW flops; BM·BN/(2·(BM + BN)) = 32 flops a byte of memory at 128 × 128 in f32, more where the cache
//           keeps what taps share; compute bound
// Registers 4·TM·TN sums, 4·TM of x, 4·TN of w, the fetched tile, where it lies: 132 on RDNA 3 at 8 × 2; with 19 KB of
//           workgroup memory 10 waves a SIMD
// Banks     as in matmul_tiled.wgsl
// Needs     channels padded with zeros to a multiple of 4 · BK divides them · WG a multiple of BK/4 (chosen in src/ops/conv3d.ts)
// Numerics  f32 accumulation for every storage type
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias W = f32;
//! end
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<W>>;
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

//! part shared/register_tile.wgsl
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
//! part ends
// Rows of x that one thread stages, STEP apart.
const STEP: u32 = WG / KV;
const X_LOADS: u32 = (BM + STEP - 1u) / STEP;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  let tiles_n = (params.n + BN - 1u) / BN;
  let m0 = (group / tiles_n) * BM;
  if (m0 >= params.count) { return; }
  let n0 = (group % tiles_n) * BN;
  let tx = lane % TX;
  let ty = lane / TX;
  let kernel_t = field(0u);
  let kernel_h = field(1u);
  let kernel_w = field(2u);
  let up = select(0u, 1u, has(DOUBLED));
  let row = (params.w_in >> up) * params.cin4;
  let plane = (params.h_in >> up) * row;

  // Where the positions that this thread stages lie in x, under tap 0, and its weights. Positions and panels past the end are others
  // once more; their results are not stored.
  let kv = lane % KV;
  var batch_at: array<u32, X_LOADS>;
  var t_at: array<i32, X_LOADS>;
  var h_at: array<i32, X_LOADS>;
  var w_at: array<i32, X_LOADS>;
  for (var i = 0u; i < X_LOADS; i++) {
    let m = min(m0 + lane / KV + i * STEP, params.count - 1u);
    let row_out = m / params.w_out;
    w_at[i] = i32((m % params.w_out) * field(5u)) - (i32(params.kernel) >> 28u);
    h_at[i] = i32((row_out % params.h_out) * field(4u)) + params.h_origin;
    t_at[i] = i32((row_out / params.h_out % params.t_out) * field(3u)) + params.t_origin;
    batch_at[i] = params.x_base + row_out / params.h_out / params.t_out * params.t_in * plane + kv;
  }
  var weight_at: array<u32, W_LOADS>;
  for (var i = 0u; i < W_LOADS; i++) {
    let at = lane + i * WG;
    weight_at[i] = min(n0 / 16u + at / (4u * BK), (params.n + 15u) / 16u - 1u) * (kernel_t * kernel_h * kernel_w * params.cin4 * 16u)
      + at % (4u * BK);
  }

  var acc: array<array<vec4<f32>, TN>, TM>;
  var at: array<u32, X_LOADS>;
  var inside: array<bool, X_LOADS>;
  var x_next: array<vec4<X>, X_LOADS>;
  var w_next: array<vec4<W>, W_LOADS>;
  let taps_end = (params.switches >> 24u) * kernel_h * kernel_w;
  for (var tap = ((params.switches >> 16u) & 255u) * kernel_h * kernel_w; tap < taps_end; tap++) {
    let kt = tap / (kernel_h * kernel_w);
    let kh = tap / kernel_w % kernel_h;
    let kw = tap % kernel_w;
    for (var i = 0u; i < X_LOADS; i++) {
      let h = h_at[i] + i32(kh);
      let column = w_at[i] + i32(kw);
      inside[i] = has(REPLICATE) || (h >= 0 && h < i32(params.h_in) && column >= 0 && column < i32(params.w_in));
      at[i] = batch_at[i] + source_frame(t_at[i] + i32(kt * field(6u))) * plane
        + (u32(clamp(h, 0, i32(params.h_in) - 1)) >> up) * row + (u32(clamp(column, 0, i32(params.w_in) - 1)) >> up) * params.cin4;
      x_next[i] = x[at[i]];
    }
    for (var i = 0u; i < W_LOADS; i++) { w_next[i] = w[weight_at[i] + tap * params.cin4 * 16u]; }
    for (var k0 = 0u; k0 < params.cin4; k0 += KV) {
      for (var i = 0u; i < X_LOADS; i++) {
        let r = lane / KV + i * STEP;
        if (X_LOADS * STEP == BM || r < BM) { sh_x[r * X_STRIDE + kv] = select(vec4<f32>(), vec4<f32>(x_next[i]), inside[i]); }
      }
      for (var i = 0u; i < W_LOADS; i++) {
        let s = lane + i * WG;
        if (W_COUNT % WG == 0u || s < W_COUNT) { sh_w[s / 4u % BK * W_STRIDE + s / (4u * BK) * 4u + s % 4u] = vec4<f32>(w_next[i]); }
      }
      workgroupBarrier();
      // The last tile of a tap is fetched twice, which is cheaper than a branch.
      let next = min(k0 + KV, params.cin4 - KV);
      for (var i = 0u; i < X_LOADS; i++) { x_next[i] = x[at[i] + next]; }
      for (var i = 0u; i < W_LOADS; i++) { w_next[i] = w[weight_at[i] + (tap * params.cin4 + next) * 16u]; }
      //! part shared/register_tile_multiply.wgsl
      for (var k = 0u; k < KV; k++) {
        var a: array<vec4<f32>, TM>;
        for (var i = 0u; i < TM; i++) { a[i] = sh_x[(ty + i * TY) * X_STRIDE + k]; }
        for (var j = 0u; j < TN; j++) {
          for (var c = 0u; c < 4u; c++) {
            let b = sh_w[(k * 4u + c) * W_STRIDE + j * TX + tx];
            for (var i = 0u; i < TM; i++) { acc[i][j] = fma(vec4<f32>(a[i][c]), b, acc[i][j]); }
          }
        }
      }
      //! part ends
      workgroupBarrier();
    }
  }

  for (var i = 0u; i < TM; i++) {
    let m = m0 + ty + i * TY;
    for (var j = 0u; j < TN; j++) {
      let n = n0 + (j * TX + tx) * 4u;
      let out = m * (params.n / 4u) + n / 4u;
      if (m < params.count && n < params.n) { y[params.y_base + out] = vec4<Y>(epilogue(acc[i][j], out, n / 4u)); }
    }
  }
}
