// conv3d_turn_weight.wgsl — a convolution's weight as the gradient with respect to its input reads it
//
// Meaning   inputs and outputs are exchanged, taps reversed; of one with strides those taps alone that meet one phase of the input
// Shapes    w [N, Cin, KT, KH, KW] in any layout, by its strides
//           PANELS: y [ceil(Cin/16)][kt][kh][kw][padded][16], `padded` = N up to a multiple of 4
//           else y [Cin up to 16][kt][kh][kw][padded], `padded` up to a multiple of 8. Zeros past the ends.
// Work      one thread writes a vector of y, neighbours neighbouring ones
// Dispatch  (ceil(count / 64), folded, 1)
// Cost      reads the taps once, writes y once; bandwidth bound
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias W = f32;
const PANELS: bool = true;
//! end
// count: vectors of y · cin, n: channels of w · padded: inputs of y · tap: of w, for the first of y; step_t, step_h, step_w: how many lie
// between neighbouring ones of y, which go backwards · kernel: 4 bits each of taps of y in time, rows, columns
// panel, row, column, along: values of w between panels of 16 of n, rows of a panel, inputs, taps
struct Params {
  count: u32, cin: u32, n: u32, padded: u32,
  tap: u32, step_t: u32, step_h: u32, step_w: u32, kernel: u32,
  panel: u32, row: u32, column: u32, along: u32,
}
@group(0) @binding(1) var<storage, read> w: array<W>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<W>>;

fn value(c: u32, n: u32, tap: u32) -> W {
  if (c >= params.cin || n >= params.n) { return W(0.0); }
  return w[n / 16u * params.panel + n % 16u * params.row + c * params.column + tap * params.along];
}

// The tap of w that tap `i` of y is.
fn turned(i: u32) -> u32 {
  let kh = (params.kernel >> 4u) & 15u;
  let kw = (params.kernel >> 8u) & 15u;
  return params.tap - i / kw / kh * params.step_t - i / kw % kh * params.step_h - i % kw * params.step_w;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count) { return; }
  let taps = (params.kernel & 15u) * ((params.kernel >> 4u) & 15u) * ((params.kernel >> 8u) & 15u);
  if (PANELS) {
    let n = i / 4u % params.padded;
    let row = i / 4u / params.padded;
    let tap = turned(row % taps);
    let c = row / taps * 16u + i % 4u * 4u;
    y[i] = vec4<W>(value(c, n, tap), value(c + 1u, n, tap), value(c + 2u, n, tap), value(c + 3u, n, tap));
  } else {
    let n = i % (params.padded / 4u) * 4u;
    let row = i / (params.padded / 4u);
    let tap = turned(row % taps);
    let c = row / taps;
    y[i] = vec4<W>(value(c, n, tap), value(c, n + 1u, tap), value(c, n + 2u, tap), value(c, n + 3u, tap));
  }
}
