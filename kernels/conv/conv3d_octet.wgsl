// conv3d_octet.wgsl — causal convolution over time, rows and columns as an implicit matmul, for CPU adapters with 8 lanes
//
// Shapes    as in conv3d_tiled.wgsl
// Work      one lane owns 4 neighbouring columns of one row of y × one panel of 16 channels in 16 named vectors; no workgroup
//           memory, no barrier. A load that may differ from lane to lane costs a CPU as much as some 35 multiply-adds of all
//           lanes. So 8 lanes load the 16 vectors that 4 inputs × 16 channels take of w, two each, and broadcast them at constant
//           lanes, which is one permutation of a register; and the columns that neighbouring taps share are handed on. That leaves
//           4 loads for 256 multiply-adds, where conv3d_quad has 6. 8 columns a lane are no faster, 3 taps unrolled by hand
//           are half as fast (bench/LOG.md).
// Dispatch  (ceil(N/16) · ceil(runs/WG), folded, 1), runs = B·T·H·ceil(W/4) of y; neighbours share a panel of w
// Cost      2·B·T·H·W·N·Cin·KT·KH·KW flops; compute bound
// Needs     subgroups (of 8 lanes or a multiple) · channels padded with zeros to a multiple of 4
// Numerics  f32 accumulation for every storage type
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias W = f32;
const OVERLAP: bool = true;
const KW: u32 = 3u;
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

// Four channels of w for each of four inputs.
struct Weights { i0: vec4<f32>, i1: vec4<f32>, i2: vec4<f32>, i3: vec4<f32> }
fn add(c: vec4<f32>, a: vec4<f32>, m: Weights) -> vec4<f32> {
  return fma(vec4<f32>(a.w), m.i3, fma(vec4<f32>(a.z), m.i2, fma(vec4<f32>(a.y), m.i1, fma(vec4<f32>(a.x), m.i0, c))));
}
//! part shared/conv3d_pixel.wgsl
// The vector of channels at `column` of the row of x that starts at `at`; zeros outside.
fn pixel(at: u32, column: i32, row_inside: bool) -> vec4<f32> {
  let last = i32(params.w_in) - 1;
  let v = vec4<f32>(x[at + (u32(clamp(column, 0, last)) >> select(0u, 1u, has(DOUBLED))) * params.cin4]);
  return select(vec4<f32>(), v, has(REPLICATE) || (row_inside && column >= 0 && column <= last));
}
//! part ends

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32, @builtin(subgroup_invocation_id) lane: u32,
) {
  let group = wid.y * groups.x + wid.x;
  let groups_of_runs = (params.count + WG - 1u) / WG;
  let panel = group / groups_of_runs;
  if (panel * 16u >= params.n) { return; }
  let run = (group % groups_of_runs) * WG + index;
  let runs_of_row = (params.w_out + 3u) / 4u;
  // Lanes past the end do the last run again: every lane has to take part in the broadcasts.
  let held = min(run, params.count - 1u);
  let row_out = held / runs_of_row;
  let w0 = (held % runs_of_row) * 4u;
  let kh_end = field(1u);
  // A count that is known runs a third faster; 0: the dispatch tells.
  let kw_end = select(KW, field(2u), KW == 0u);
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
  let taps_end = params.switches >> 24u;
  for (var kt = (params.switches >> 16u) & 255u; kt < taps_end; kt++) {
    let frame = x_batch + source_frame(t0 + i32(kt * field(6u))) * plane;
    for (var kh = 0u; kh < kh_end; kh++) {
      let h = h0 + i32(kh);
      let inside = h >= 0 && h < i32(params.h_in);
      let start = frame + (u32(clamp(h, 0, i32(params.h_in) - 1)) >> up) * row;
      let tap = ((panel * field(0u) + kt) * kh_end + kh) * kw_end;
      for (var k = 0u; k < params.cin4; k++) {
        var a0 = vec4<f32>();
        var a1 = vec4<f32>();
        var a2 = vec4<f32>();
        if (OVERLAP) {
          a0 = pixel(start + k, column0, inside);
          a1 = pixel(start + k, column0 + 1, inside);
          a2 = pixel(start + k, column0 + 2, inside);
        }
        var at = (tap * params.cin4 + k) * 16u + (lane & 7u);
        for (var kw = 0u; kw < kw_end; kw++) {
          if (!OVERLAP) {
            a0 = pixel(start + k, column0 + i32(kw), inside);
            a1 = pixel(start + k, column0 + i32(kw + step), inside);
            a2 = pixel(start + k, column0 + i32(kw + 2u * step), inside);
          }
          let a3 = pixel(start + k, column0 + i32(kw + 3u * step), inside);
          // For input l >> 2, and that + 2, of this tap lane l of 8 loads channels 4·(l & 3) … of the panel.
          let low = vec4<f32>(w[at]);
          let high = vec4<f32>(w[at + 8u]);
          at += params.cin4 * 16u;
          let m0 = Weights(subgroupBroadcast(low, 0u), subgroupBroadcast(low, 4u),
                           subgroupBroadcast(high, 0u), subgroupBroadcast(high, 4u));
          let m1 = Weights(subgroupBroadcast(low, 1u), subgroupBroadcast(low, 5u),
                           subgroupBroadcast(high, 1u), subgroupBroadcast(high, 5u));
          let m2 = Weights(subgroupBroadcast(low, 2u), subgroupBroadcast(low, 6u),
                           subgroupBroadcast(high, 2u), subgroupBroadcast(high, 6u));
          let m3 = Weights(subgroupBroadcast(low, 3u), subgroupBroadcast(low, 7u),
                           subgroupBroadcast(high, 3u), subgroupBroadcast(high, 7u));
          c00 = add(c00, a0, m0); c01 = add(c01, a0, m1); c02 = add(c02, a0, m2); c03 = add(c03, a0, m3);
          c10 = add(c10, a1, m0); c11 = add(c11, a1, m1); c12 = add(c12, a1, m2); c13 = add(c13, a1, m3);
          c20 = add(c20, a2, m0); c21 = add(c21, a2, m1); c22 = add(c22, a2, m2); c23 = add(c23, a2, m3);
          c30 = add(c30, a3, m0); c31 = add(c31, a3, m1); c32 = add(c32, a3, m2); c33 = add(c33, a3, m3);
          if (OVERLAP) {
            a0 = a1;
            a1 = a2;
            a2 = a3;
          }
        }
      }
    }
  }
  if (run >= params.count) { return; }
  let turn = 0u;
  // A loop, for drivers take seconds to compile an epilogue that is unrolled 16 times.
  for (var p = 0u; p < 4u && w0 + p < params.w_out; p++) {
    if (p == 1u) { c00 = c10; c01 = c11; c02 = c12; c03 = c13; }
    if (p == 2u) { c00 = c20; c01 = c21; c02 = c22; c03 = c23; }
    if (p == 3u) { c00 = c30; c01 = c31; c02 = c32; c03 = c33; }
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
