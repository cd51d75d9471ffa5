// group_norm_gradient_sums.wgsl — of blocks of a frame's positions: count, Σ g and Σ g · x̂, with g the gradient before the activation
//
// Shapes    x, dy [frames, H, W, C] · norm [B, 2, C] (group_norm_merge) · weight, bias [C]
//           SPATIAL: scale (ONE_PLUS: 1 + scale), shift [B, Tz, Hb, Wb, C] f32, read as by group_norm_apply; a block is what one position
//           of them is read for. Else a block is `run` positions of a row, fewer at its end, and a row may be a whole frame
//           sums [frames, Hb, Wb, 3, C] f32
// Work      one lane per block × 4 channels
// Dispatch  (ceil(rows · Wb · C/4 / WG), folded, 1), rows: those of blocks
// Cost      reads x and dy once; bandwidth bound
// Needs     C % 4 == 0 (channels padded with zeros; so are norm, weight and bias)
// Numerics  f32, in the order of the positions
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias G = f32;
const SILU: bool = false;
const SPATIAL: bool = false;
const ONE_PLUS: bool = false;
//! end
override WG: u32 = 64;
// rows: of blocks in this dispatch, from `first` on · t, h, w: of x · tz: of scale and shift · hb, wb: rows and columns of blocks
struct Params {
  rows: u32, first: u32, c4: u32, t: u32, h: u32, w: u32, tz: u32, hb: u32, wb: u32, run: u32,
  step_t: f32, step_h: f32, step_w: f32,
  x_base: u32, dy_base: u32, sums_base: u32,
}
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> shift: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> sums: array<vec4<f32>>;

//! part shared/silu_slope.wgsl
fn silu_slope(v: vec4<f32>) -> vec4<f32> {
  let bounded = clamp(v, vec4<f32>(-80.0), vec4<f32>(80.0));
  let s = 1.0 / (1.0 + exp(-bounded));
  return s * (1.0 + bounded * (1.0 - s));
}
//! part ends

//! part shared/nearest_position.wgsl
//! specialise
const FIRST_APART: bool = false;
//! end
fn nearest(i: u32, step: f32, size: u32) -> u32 { return min(u32(f32(i) * step), size - 1u); }

// FIRST_APART: the first frame has the first to itself, and step is that of the others.
fn nearest_frame(t: u32, step: f32, size: u32) -> u32 {
  if (FIRST_APART) { return select(1u + nearest(t - 1u, step, size - 1u), 0u, t == 0u); }
  return nearest(t, step, size);
}
//! part ends

// The first of n positions that reads block i or a later one.
fn edge(i: u32, step: f32, blocks: u32, n: u32) -> u32 {
  var at = min(u32(f32(i) / step), n);
  while (at > 0u && nearest(at - 1u, step, blocks) >= i) { at--; }
  while (at < n && nearest(at, step, blocks) < i) { at++; }
  return at;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  let step = params.c4;
  if (id >= params.rows * params.wb * step) { return; }
  let block = params.first * params.wb + id / step;
  let column = id % step;
  let row = block / params.wb;
  let frame = row / params.hb;
  let batch = frame / params.t;
  let hb = row % params.hb;
  let wb = block % params.wb;
  let mean = norm[batch * 2u * step + column];
  let rstd = norm[(batch * 2u + 1u) * step + column];

  var h = hb;
  var h_end = hb + 1u;
  var w = wb * params.run;
  var w_end = min(w + params.run, params.w);
  // What the activation was given, of x̂.
  var gain = weight[column];
  var offset = bias[column];
  if (SPATIAL) {
    h = edge(hb, params.step_h, params.hb, params.h);
    h_end = edge(hb + 1u, params.step_h, params.hb, params.h);
    w = edge(wb, params.step_w, params.wb, params.w);
    w_end = edge(wb + 1u, params.step_w, params.wb, params.w);
    let tz = nearest_frame(frame % params.t, params.step_t, params.tz);
    let z = (((batch * params.tz + tz) * params.hb + hb) * params.wb + wb) * step + column;
    let scale_here = scale[z] + select(0.0, 1.0, ONE_PLUS);
    gain *= scale_here;
    offset = offset * scale_here + shift[z];
  }

  let count = (h_end - h) * (w_end - w);
  var sum = vec4<f32>();
  var product = vec4<f32>();
  for (; h < h_end; h++) {
    var at = ((frame * params.h + h) * params.w + w) * step + column;
    let row_end = at + (w_end - w) * step;
    for (; at < row_end; at += step) {
      let normalised = (vec4<f32>(x[params.x_base + at]) - mean) * rstd;
      var g = vec4<f32>(dy[params.dy_base + at]);
      if (SILU) { g *= silu_slope(normalised * gain + offset); }
      sum += g;
      product += g * normalised;
    }
  }
  let out = params.sums_base + block * 3u * step + column;
  sums[out] = vec4<f32>(f32(count));
  sums[out + step] = sum;
  sums[out + 2u * step] = product;
}
