// shared/conv3d.wgsl — what every kernel of conv3d has: params, switches, which frame of x a tap reads, the epilogue
//
// Expects   `silu` (shared/) · `x` and `w` at bindings 1 and 2
// Switches  A new one of the epilogue is a const and a line of `epilogue` here, a line of SWITCHES in src/ops/conv3d/switches.ts, and a
//           case of the sweep. They are bits of a parameter, not constants, so that the steps of one convolution share a pipeline.

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
