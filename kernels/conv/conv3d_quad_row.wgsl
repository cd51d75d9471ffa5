// conv3d_quad_row.wgsl — conv3d_quad.wgsl for kernels of three columns and stride 1, with twice the tile
//
// Shapes    as in conv3d_tiled.wgsl
// Work      one lane owns 8 neighbouring columns of one row of y × one panel of 16 channels in 32 named vectors. The three
//           taps of a row are unrolled: 12 multiply-adds in a row keep a sum in its register, for SwiftShader loads and
//           stores named vectors around every block, masked; and its gathers, a dozen instructions a component, are
//           spread over twice the work. Twice as fast as conv3d_quad on SwiftShader; slower, and 7 s to compile, on lavapipe.
// Dispatch  (ceil(N/16) · ceil(runs/WG), folded, 1), runs = B·T·H·ceil(W/8) of y; neighbours share a panel of w
// Cost      2·B·T·H·W·N·Cin·KT·KH·KW flops; compute bound
// Needs     subgroups (of 4 lanes or a multiple) · channels padded with zeros to a multiple of 4
// Numerics  f32 accumulation for every storage type
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias W = f32;
//! end
override WG: u32 = 8;
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

//! part shared/conv3d_quad.wgsl
// Four inputs × four channels of w from `at` on, every lane of a quad its own four channels.
fn weights(at: u32) -> mat4x4<f32> {
  return transpose(mat4x4<f32>(vec4<f32>(w[at]), vec4<f32>(w[at + 4u]), vec4<f32>(w[at + 8u]), vec4<f32>(w[at + 12u])));
}

// Those of the lane whose number differs in the lowest bit, in the second, in both.
fn swap_x(m: mat4x4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(quadSwapX(m[0]), quadSwapX(m[1]), quadSwapX(m[2]), quadSwapX(m[3]));
}
fn swap_y(m: mat4x4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(quadSwapY(m[0]), quadSwapY(m[1]), quadSwapY(m[2]), quadSwapY(m[3]));
}
fn swap_xy(m: mat4x4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(quadSwapDiagonal(m[0]), quadSwapDiagonal(m[1]), quadSwapDiagonal(m[2]), quadSwapDiagonal(m[3]));
}
//! part ends

// Where the vectors of channels at `column` of the row of x that starts at `start` begin, and whether it lies in x.
fn place(start: u32, column: i32) -> u32 {
  return start + (u32(clamp(column, 0, i32(params.w_in) - 1)) >> select(0u, 1u, has(DOUBLED))) * params.cin4;
}
fn lies_in(row_inside: bool, column: i32) -> bool {
  return has(REPLICATE) || (row_inside && column >= 0 && column < i32(params.w_in));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  let groups_of_runs = (params.count + WG - 1u) / WG;
  let panel = group / groups_of_runs;
  if (panel * 16u >= params.n) { return; }
  let run = (group % groups_of_runs) * WG + lane;
  let runs_of_row = (params.w_out + 7u) / 8u;
  // Lanes past the end do the last run again: every lane of a quad has to take part in its swaps.
  let held = min(run, params.count - 1u);
  let row_out = held / runs_of_row;
  let w0 = (held % runs_of_row) * 8u;
  let kh_end = field(1u);
  //! part shared/conv3d_run.wgsl
  let step = field(5u);
  let h0 = i32((row_out % params.h_out) * field(4u)) + params.h_origin;
  let t0 = i32((row_out / params.h_out % params.t_out) * field(3u)) + params.t_origin;
  let column0 = i32(w0 * step) - (i32(params.kernel) >> 28u);
  let up = select(0u, 1u, has(DOUBLED));
  let row = (params.w_in >> up) * params.cin4;
  let plane = (params.h_in >> up) * row;
  let x_batch = params.x_base + row_out / params.h_out / params.t_out * params.t_in * plane;
  //! part ends

  var c00 = vec4<f32>(); var c01 = vec4<f32>(); var c02 = vec4<f32>(); var c03 = vec4<f32>();
  var c10 = vec4<f32>(); var c11 = vec4<f32>(); var c12 = vec4<f32>(); var c13 = vec4<f32>();
  var c20 = vec4<f32>(); var c21 = vec4<f32>(); var c22 = vec4<f32>(); var c23 = vec4<f32>();
  var c30 = vec4<f32>(); var c31 = vec4<f32>(); var c32 = vec4<f32>(); var c33 = vec4<f32>();
  var c40 = vec4<f32>(); var c41 = vec4<f32>(); var c42 = vec4<f32>(); var c43 = vec4<f32>();
  var c50 = vec4<f32>(); var c51 = vec4<f32>(); var c52 = vec4<f32>(); var c53 = vec4<f32>();
  var c60 = vec4<f32>(); var c61 = vec4<f32>(); var c62 = vec4<f32>(); var c63 = vec4<f32>();
  var c70 = vec4<f32>(); var c71 = vec4<f32>(); var c72 = vec4<f32>(); var c73 = vec4<f32>();
  let taps_end = params.switches >> 24u;
  for (var kt = (params.switches >> 16u) & 255u; kt < taps_end; kt++) {
    let frame = x_batch + source_frame(t0 + i32(kt * field(6u))) * plane;
    for (var kh = 0u; kh < kh_end; kh++) {
      let h = h0 + i32(kh);
      let inside = h >= 0 && h < i32(params.h_in);
      let start = frame + (u32(clamp(h, 0, i32(params.h_in) - 1)) >> up) * row;
      let tap = ((panel * field(0u) + kt) * kh_end + kh) * 3u;
      let at0 = place(start, column0 + 0);
      let at1 = place(start, column0 + 1);
      let at2 = place(start, column0 + 2);
      let at3 = place(start, column0 + 3);
      let at4 = place(start, column0 + 4);
      let at5 = place(start, column0 + 5);
      let at6 = place(start, column0 + 6);
      let at7 = place(start, column0 + 7);
      let at8 = place(start, column0 + 8);
      let at9 = place(start, column0 + 9);
      let in0 = lies_in(inside, column0 + 0);
      let in1 = lies_in(inside, column0 + 1);
      let in2 = lies_in(inside, column0 + 2);
      let in3 = lies_in(inside, column0 + 3);
      let in4 = lies_in(inside, column0 + 4);
      let in5 = lies_in(inside, column0 + 5);
      let in6 = lies_in(inside, column0 + 6);
      let in7 = lies_in(inside, column0 + 7);
      let in8 = lies_in(inside, column0 + 8);
      let in9 = lies_in(inside, column0 + 9);
      for (var k = 0u; k < params.cin4; k++) {
        let a0 = select(vec4<f32>(), vec4<f32>(x[at0 + k]), in0);
        let a1 = select(vec4<f32>(), vec4<f32>(x[at1 + k]), in1);
        let a2 = select(vec4<f32>(), vec4<f32>(x[at2 + k]), in2);
        let a3 = select(vec4<f32>(), vec4<f32>(x[at3 + k]), in3);
        let a4 = select(vec4<f32>(), vec4<f32>(x[at4 + k]), in4);
        let a5 = select(vec4<f32>(), vec4<f32>(x[at5 + k]), in5);
        let a6 = select(vec4<f32>(), vec4<f32>(x[at6 + k]), in6);
        let a7 = select(vec4<f32>(), vec4<f32>(x[at7 + k]), in7);
        let a8 = select(vec4<f32>(), vec4<f32>(x[at8 + k]), in8);
        let a9 = select(vec4<f32>(), vec4<f32>(x[at9 + k]), in9);
        let at = (tap * params.cin4 + k) * 16u + (lane & 3u);
        let m00 = weights(at);
        let m01 = swap_x(m00);
        let m02 = swap_y(m00);
        let m03 = swap_xy(m00);
        c00 += a0 * m00; c01 += a0 * m01; c02 += a0 * m02; c03 += a0 * m03;
        c10 += a1 * m00; c11 += a1 * m01; c12 += a1 * m02; c13 += a1 * m03;
        c20 += a2 * m00; c21 += a2 * m01; c22 += a2 * m02; c23 += a2 * m03;
        c30 += a3 * m00; c31 += a3 * m01; c32 += a3 * m02; c33 += a3 * m03;
        c40 += a4 * m00; c41 += a4 * m01; c42 += a4 * m02; c43 += a4 * m03;
        c50 += a5 * m00; c51 += a5 * m01; c52 += a5 * m02; c53 += a5 * m03;
        c60 += a6 * m00; c61 += a6 * m01; c62 += a6 * m02; c63 += a6 * m03;
        c70 += a7 * m00; c71 += a7 * m01; c72 += a7 * m02; c73 += a7 * m03;
        let m10 = weights(at + 16u * params.cin4);
        let m11 = swap_x(m10);
        let m12 = swap_y(m10);
        let m13 = swap_xy(m10);
        c00 += a1 * m10; c01 += a1 * m11; c02 += a1 * m12; c03 += a1 * m13;
        c10 += a2 * m10; c11 += a2 * m11; c12 += a2 * m12; c13 += a2 * m13;
        c20 += a3 * m10; c21 += a3 * m11; c22 += a3 * m12; c23 += a3 * m13;
        c30 += a4 * m10; c31 += a4 * m11; c32 += a4 * m12; c33 += a4 * m13;
        c40 += a5 * m10; c41 += a5 * m11; c42 += a5 * m12; c43 += a5 * m13;
        c50 += a6 * m10; c51 += a6 * m11; c52 += a6 * m12; c53 += a6 * m13;
        c60 += a7 * m10; c61 += a7 * m11; c62 += a7 * m12; c63 += a7 * m13;
        c70 += a8 * m10; c71 += a8 * m11; c72 += a8 * m12; c73 += a8 * m13;
        let m20 = weights(at + 32u * params.cin4);
        let m21 = swap_x(m20);
        let m22 = swap_y(m20);
        let m23 = swap_xy(m20);
        c00 += a2 * m20; c01 += a2 * m21; c02 += a2 * m22; c03 += a2 * m23;
        c10 += a3 * m20; c11 += a3 * m21; c12 += a3 * m22; c13 += a3 * m23;
        c20 += a4 * m20; c21 += a4 * m21; c22 += a4 * m22; c23 += a4 * m23;
        c30 += a5 * m20; c31 += a5 * m21; c32 += a5 * m22; c33 += a5 * m23;
        c40 += a6 * m20; c41 += a6 * m21; c42 += a6 * m22; c43 += a6 * m23;
        c50 += a7 * m20; c51 += a7 * m21; c52 += a7 * m22; c53 += a7 * m23;
        c60 += a8 * m20; c61 += a8 * m21; c62 += a8 * m22; c63 += a8 * m23;
        c70 += a9 * m20; c71 += a9 * m21; c72 += a9 * m22; c73 += a9 * m23;
      }
    }
  }
  if (run >= params.count) { return; }
  let turn = lane & 3u;
  // A loop, for drivers take seconds to compile an epilogue that is unrolled 32 times.
  for (var p = 0u; p < 8u && w0 + p < params.w_out; p++) {
    if (p == 1u) { c00 = c10; c01 = c11; c02 = c12; c03 = c13; }
    if (p == 2u) { c00 = c20; c01 = c21; c02 = c22; c03 = c23; }
    if (p == 3u) { c00 = c30; c01 = c31; c02 = c32; c03 = c33; }
    if (p == 4u) { c00 = c40; c01 = c41; c02 = c42; c03 = c43; }
    if (p == 5u) { c00 = c50; c01 = c51; c02 = c52; c03 = c53; }
    if (p == 6u) { c00 = c60; c01 = c61; c02 = c62; c03 = c63; }
    if (p == 7u) { c00 = c70; c01 = c71; c02 = c72; c03 = c73; }
    //! part shared/conv3d_run_store.wgsl
    for (var q = 0u; q < 4u; q++) {
      var v = c00;
      if (q == 1u) { v = c01; }
      if (q == 2u) { v = c02; }
      if (q == 3u) { v = c03; }
      let column = panel * 4u + (turn ^ q);
      if (column * 4u < params.n) {
        let at = (row_out * params.w_out + w0 + p) * (params.n / 4u) + column;
        y[params.y_base + at] = vec4<Y>(epilogue(v, at, column));
      }
    }
    //! part ends
  }
}
