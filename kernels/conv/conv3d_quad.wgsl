// conv3d_quad.wgsl — causal convolution over time, rows and columns as an implicit matmul, for CPU adapters
//
// Shapes    as in conv3d_tiled.wgsl
// Work      one lane owns 4 neighbouring columns of one row of y × one panel of 16 channels in 16 named vectors; no workgroup
//           memory, no barrier. On a CPU a load that may differ from lane to lane is one scalar load a lane and component,
//           while multiply-adds are cheap: so the columns that neighbouring taps share are loaded once and handed on, and
//           the four lanes of a quad load different vectors of w and hand them round with quadBroadcast.
//           Unrolled by hand: SwiftShader keeps an array that a loop indexes in memory, 20 times slower.
// Dispatch  (ceil(N/16) · ceil(runs/WG), folded, 1), runs = B·T·H·ceil(W/4) of y; neighbours share a panel of w
// Cost      2·B·T·H·W·N·Cin·KT·KH·KW flops; compute bound
// Needs     subgroups (of 4 lanes or a multiple) · channels padded with zeros to a multiple of 4
// Numerics  f32 accumulation for every storage type
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias W = f32;
alias Y = f32;
const OVERLAP: bool = true;
//! end
override WG: u32 = 8;
// runs/m: output positions of this dispatch · n: channels of y · cin4: vectors of channels of x · t_in: frames of x
// h_in, w_in: rows and columns of x, after nearest upsampling · t_out, h_out, w_out: output frames, rows, columns of
// this dispatch · t_origin, h_origin: frame and row of x under tap 0 of output frame 0, row 0
// kernel: 4 bits each of taps in time, rows, columns; strides in time, rows, columns; dilation in time; columns padded left
// switches: bits below, first tap in time << 16, end of taps in time << 24
// x_base, y_base, r_base: what is added to an index into the whole tensor; wraps where the binding is a window of it
struct Params {
  runs: u32, n: u32, cin4: u32,
  t_in: u32, h_in: u32, w_in: u32,
  t_out: u32, h_out: u32, w_out: u32,
  t_origin: i32, h_origin: i32,
  kernel: u32, switches: u32,
  x_base: u32, y_base: u32, r_base: u32,
}
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<W>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Y>>;

const BIAS: u32 = 1u;
const RESIDUAL: u32 = 2u;
const SILU: u32 = 4u;
const ACCUMULATE: u32 = 8u;
const REPLICATE: u32 = 16u;
const DOUBLED: u32 = 32u;
const DOUBLED_FRAMES: u32 = 64u;
const FIRST_APART: u32 = 128u;

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
  if (has(SILU)) { v = v / (1.0 + exp(clamp(-v, vec4<f32>(-80.0), vec4<f32>(80.0)))); }
  return v;
}

// The vector of channels at `column` of the row of x that starts at `at`; zeros outside.
fn pixel(at: u32, column: i32, row_inside: bool) -> vec4<f32> {
  let last = i32(params.w_in) - 1;
  let v = vec4<f32>(x[at + (u32(clamp(column, 0, last)) >> select(0u, 1u, has(DOUBLED))) * params.cin4]);
  return select(vec4<f32>(), v, has(REPLICATE) || (row_inside && column >= 0 && column <= last));
}

fn store(column_out: u32, row_out: u32, panel: u32, v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>) {
  if (column_out >= params.w_out) { return; }
  let column = panel * 4u;
  let at = (row_out * params.w_out + column_out) * (params.n / 4u) + column;
  y[params.y_base + at] = vec4<Y>(epilogue(v0, at, column));
  if (column * 4u + 4u < params.n) { y[params.y_base + at + 1u] = vec4<Y>(epilogue(v1, at + 1u, column + 1u)); }
  if (column * 4u + 8u < params.n) { y[params.y_base + at + 2u] = vec4<Y>(epilogue(v2, at + 2u, column + 2u)); }
  if (column * 4u + 12u < params.n) { y[params.y_base + at + 3u] = vec4<Y>(epilogue(v3, at + 3u, column + 3u)); }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  let groups_of_runs = (params.runs + WG - 1u) / WG;
  let panel = group / groups_of_runs;
  if (panel * 16u >= params.n) { return; }
  let run = (group % groups_of_runs) * WG + lane;
  let runs_of_row = (params.w_out + 3u) / 4u;
  // Lanes past the end do the last run again: every lane of a quad has to take part in its broadcasts.
  let held = min(run, params.runs - 1u);
  let row_out = held / runs_of_row;
  let w0 = (held % runs_of_row) * 4u;
  let kh_end = field(1u);
  let kw_end = field(2u);
  let step = field(5u);
  let h0 = i32((row_out % params.h_out) * field(4u)) + params.h_origin;
  let t0 = i32((row_out / params.h_out % params.t_out) * field(3u)) + params.t_origin;
  let column0 = i32(w0 * step) - i32(field(7u));
  let up = select(0u, 1u, has(DOUBLED));
  let row = (params.w_in >> up) * params.cin4;
  let plane = (params.h_in >> up) * row;
  let x_batch = params.x_base + row_out / params.h_out / params.t_out * params.t_in * plane;

  var c00 = vec4<f32>();
  var c01 = vec4<f32>();
  var c02 = vec4<f32>();
  var c03 = vec4<f32>();
  var c10 = vec4<f32>();
  var c11 = vec4<f32>();
  var c12 = vec4<f32>();
  var c13 = vec4<f32>();
  var c20 = vec4<f32>();
  var c21 = vec4<f32>();
  var c22 = vec4<f32>();
  var c23 = vec4<f32>();
  var c30 = vec4<f32>();
  var c31 = vec4<f32>();
  var c32 = vec4<f32>();
  var c33 = vec4<f32>();
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
        var at = (tap * params.cin4 + k) * 16u + (lane & 3u);
        for (var kw = 0u; kw < kw_end; kw++) {
          let b0 = vec4<f32>(w[at]);
          let b1 = vec4<f32>(w[at + 4u]);
          let b2 = vec4<f32>(w[at + 8u]);
          let b3 = vec4<f32>(w[at + 12u]);
          at += params.cin4 * 16u;
          if (!OVERLAP) {
            a0 = pixel(start + k, column0 + i32(kw), inside);
            a1 = pixel(start + k, column0 + i32(kw + step), inside);
            a2 = pixel(start + k, column0 + i32(kw + 2u * step), inside);
          }
          let a3 = pixel(start + k, column0 + i32(kw + 3u * step), inside);
          let w00 = quadBroadcast(b0, 0u);
          let w01 = quadBroadcast(b0, 1u);
          let w02 = quadBroadcast(b0, 2u);
          let w03 = quadBroadcast(b0, 3u);
          c00 = fma(vec4<f32>(a0.x), w00, c00);
          c01 = fma(vec4<f32>(a0.x), w01, c01);
          c02 = fma(vec4<f32>(a0.x), w02, c02);
          c03 = fma(vec4<f32>(a0.x), w03, c03);
          c10 = fma(vec4<f32>(a1.x), w00, c10);
          c11 = fma(vec4<f32>(a1.x), w01, c11);
          c12 = fma(vec4<f32>(a1.x), w02, c12);
          c13 = fma(vec4<f32>(a1.x), w03, c13);
          c20 = fma(vec4<f32>(a2.x), w00, c20);
          c21 = fma(vec4<f32>(a2.x), w01, c21);
          c22 = fma(vec4<f32>(a2.x), w02, c22);
          c23 = fma(vec4<f32>(a2.x), w03, c23);
          c30 = fma(vec4<f32>(a3.x), w00, c30);
          c31 = fma(vec4<f32>(a3.x), w01, c31);
          c32 = fma(vec4<f32>(a3.x), w02, c32);
          c33 = fma(vec4<f32>(a3.x), w03, c33);
          let w10 = quadBroadcast(b1, 0u);
          let w11 = quadBroadcast(b1, 1u);
          let w12 = quadBroadcast(b1, 2u);
          let w13 = quadBroadcast(b1, 3u);
          c00 = fma(vec4<f32>(a0.y), w10, c00);
          c01 = fma(vec4<f32>(a0.y), w11, c01);
          c02 = fma(vec4<f32>(a0.y), w12, c02);
          c03 = fma(vec4<f32>(a0.y), w13, c03);
          c10 = fma(vec4<f32>(a1.y), w10, c10);
          c11 = fma(vec4<f32>(a1.y), w11, c11);
          c12 = fma(vec4<f32>(a1.y), w12, c12);
          c13 = fma(vec4<f32>(a1.y), w13, c13);
          c20 = fma(vec4<f32>(a2.y), w10, c20);
          c21 = fma(vec4<f32>(a2.y), w11, c21);
          c22 = fma(vec4<f32>(a2.y), w12, c22);
          c23 = fma(vec4<f32>(a2.y), w13, c23);
          c30 = fma(vec4<f32>(a3.y), w10, c30);
          c31 = fma(vec4<f32>(a3.y), w11, c31);
          c32 = fma(vec4<f32>(a3.y), w12, c32);
          c33 = fma(vec4<f32>(a3.y), w13, c33);
          let w20 = quadBroadcast(b2, 0u);
          let w21 = quadBroadcast(b2, 1u);
          let w22 = quadBroadcast(b2, 2u);
          let w23 = quadBroadcast(b2, 3u);
          c00 = fma(vec4<f32>(a0.z), w20, c00);
          c01 = fma(vec4<f32>(a0.z), w21, c01);
          c02 = fma(vec4<f32>(a0.z), w22, c02);
          c03 = fma(vec4<f32>(a0.z), w23, c03);
          c10 = fma(vec4<f32>(a1.z), w20, c10);
          c11 = fma(vec4<f32>(a1.z), w21, c11);
          c12 = fma(vec4<f32>(a1.z), w22, c12);
          c13 = fma(vec4<f32>(a1.z), w23, c13);
          c20 = fma(vec4<f32>(a2.z), w20, c20);
          c21 = fma(vec4<f32>(a2.z), w21, c21);
          c22 = fma(vec4<f32>(a2.z), w22, c22);
          c23 = fma(vec4<f32>(a2.z), w23, c23);
          c30 = fma(vec4<f32>(a3.z), w20, c30);
          c31 = fma(vec4<f32>(a3.z), w21, c31);
          c32 = fma(vec4<f32>(a3.z), w22, c32);
          c33 = fma(vec4<f32>(a3.z), w23, c33);
          let w30 = quadBroadcast(b3, 0u);
          let w31 = quadBroadcast(b3, 1u);
          let w32 = quadBroadcast(b3, 2u);
          let w33 = quadBroadcast(b3, 3u);
          c00 = fma(vec4<f32>(a0.w), w30, c00);
          c01 = fma(vec4<f32>(a0.w), w31, c01);
          c02 = fma(vec4<f32>(a0.w), w32, c02);
          c03 = fma(vec4<f32>(a0.w), w33, c03);
          c10 = fma(vec4<f32>(a1.w), w30, c10);
          c11 = fma(vec4<f32>(a1.w), w31, c11);
          c12 = fma(vec4<f32>(a1.w), w32, c12);
          c13 = fma(vec4<f32>(a1.w), w33, c13);
          c20 = fma(vec4<f32>(a2.w), w30, c20);
          c21 = fma(vec4<f32>(a2.w), w31, c21);
          c22 = fma(vec4<f32>(a2.w), w32, c22);
          c23 = fma(vec4<f32>(a2.w), w33, c23);
          c30 = fma(vec4<f32>(a3.w), w30, c30);
          c31 = fma(vec4<f32>(a3.w), w31, c31);
          c32 = fma(vec4<f32>(a3.w), w32, c32);
          c33 = fma(vec4<f32>(a3.w), w33, c33);
          if (OVERLAP) {
            a0 = a1;
            a1 = a2;
            a2 = a3;
          }
        }
      }
    }
  }
  if (run >= params.runs) { return; }
  store(w0 + 0u, row_out, panel, c00, c01, c02, c03);
  store(w0 + 1u, row_out, panel, c10, c11, c12, c13);
  store(w0 + 2u, row_out, panel, c20, c21, c22, c23);
  store(w0 + 3u, row_out, panel, c30, c31, c32, c33);
}
