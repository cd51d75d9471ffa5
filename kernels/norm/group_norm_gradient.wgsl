// group_norm_gradient.wgsl — dx of a GroupNorm with its spatial norm and activation
//
// Shapes    x, dy, dx [B, T, H, W, C] · norm [B, 4, C] (group_norm_gradient_merge) · weight, bias [C]
//           SPATIAL: scale (ONE_PLUS: 1 + scale), shift [B, Tz, Hz, Wz, C] f32, read as by group_norm_apply
//           dx = rstd · (dn · weight − mean(dn · weight) − x̂ · mean(dn · weight · x̂)), means over the group; dn = dy · act' · scale
// Work      one lane per RUN positions in a row × 4 channels, as in group_norm_apply
// Dispatch  (ceil(runs · C/4 / WG), folded, 1), runs = B·T·H·ceil(W/RUN)
// Cost      reads x and dy once, writes dx once; bandwidth bound
// Needs     C % 4 == 0 (channels padded with zeros; so are norm, weight and bias)
// Numerics  f32; the nearest position in f32 as PyTorch's interpolate computes it; IN_PLACE 1: dy lies in dx, 2: x does
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias G = f32;
alias Y = f32;
const SILU: bool = false;
const SPATIAL: bool = false;
const ONE_PLUS: bool = false;
const IN_PLACE = 0u;
//! end
override WG: u32 = 64;
override RUN: u32 = 4;
// runs of this dispatch, from the `first` on · t, h, w: of x · tz, hz, wz: of scale and shift · step_…: their ratios
struct Params {
  runs: u32, first: u32, c4: u32, t: u32, h: u32, w: u32, tz: u32, hz: u32, wz: u32,
  step_t: f32, step_h: f32, step_w: f32,
  x_base: u32, dy_base: u32, dx_base: u32,
}
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> shift: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dx: array<vec4<Y>>;

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

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  //! part shared/group_norm_run.wgsl
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  let step = params.c4;
  if (id >= params.runs * step) { return; }
  // Remainders by a product: a CPU adapter divides lane by lane.
  let run_here = id / step;
  let column = id - run_here * step;
  let run = params.first + run_here;
  let runs_of_row = (params.w + RUN - 1u) / RUN;
  let row = run / runs_of_row;
  let w0 = (run - row * runs_of_row) * RUN;
  let frame = row / params.h;
  let batch = frame / params.t;
  //! part ends
  let of_batch = batch * 4u * step + column;
  let mean = norm[of_batch];
  let rstd = norm[of_batch + step];
  let mean_g = norm[of_batch + 2u * step];
  let mean_gx = norm[of_batch + 3u * step];
  let weight_here = weight[column];
  let bias_here = bias[column];

  var row_z = 0u;
  if (SPATIAL) {
    let t = frame - batch * params.t;
    let tz = nearest_frame(t, params.step_t, params.tz);
    row_z = ((batch * params.tz + tz) * params.hz + nearest(row - frame * params.h, params.step_h, params.hz)) * params.wz;
  }
  var z = 0xffffffffu;
  var gain = weight_here;
  var offset = bias_here;
  var at = (row * params.w + w0) * step + column;
  for (var w = w0; w < min(w0 + RUN, params.w); w++) {
    if (SPATIAL) {
      let z_here = (row_z + nearest(w, params.step_w, params.wz)) * step + column;
      if (z_here != z) {
        z = z_here;
        let scale_here = scale[z] + select(0.0, 1.0, ONE_PLUS);
        gain = weight_here * scale_here;
        offset = bias_here * scale_here + shift[z];
      }
    }
    var here: vec4<f32>;
    if (IN_PLACE == 2u) { here = vec4<f32>(dx[params.dx_base + at]); } else { here = vec4<f32>(x[params.x_base + at]); }
    let normalised = (here - mean) * rstd;
    var g = gain;
    if (SILU) { g *= silu_slope(normalised * gain + offset); }
    if (IN_PLACE == 1u) { g *= vec4<f32>(dx[params.dx_base + at]); } else { g *= vec4<f32>(dy[params.dy_base + at]); }
    dx[params.dx_base + at] = vec4<Y>(rstd * (g - mean_g - normalised * mean_gx));
    at += step;
  }
}
