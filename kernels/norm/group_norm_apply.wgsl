// group_norm_apply.wgsl — y = act((x − mean) · rstd · weight + bias), per channel; then, for a spatial norm, · scale + shift
//
// Shapes    x, y [B, T, H, W, C] · norm [B, 2, C] (group_norm_merge) · weight, bias [C]
//           SPATIAL: scale (ONE_PLUS: 1 + scale), shift [B, Tz, Hz, Wz, C] f32, read at the nearest position: floor(i · size_z / size),
//           and where FIRST_APART the first frame takes the first and the others the rest; of a part of a larger picture positions
//           count from shift_h, shift_w on
// Work      one lane per RUN positions in a row × 4 channels: a few for GPUs; many for a CPU adapter, which divides integers lane by
//           lane. Without SPATIAL all positions of a batch entry may be given as one row. With it neighbours in a run mostly
//           share a position of scale and shift, which is then read once.
// Dispatch  (ceil(runs · C/4 / WG), folded, 1), runs = B·T·H·ceil(W/RUN)
// Cost      reads x once, writes y once; bandwidth bound
// Needs     C % 4 == 0 (channels padded with zeros; so are norm, weight and bias)
// Numerics  f32; the nearest position in f32 as PyTorch's interpolate computes it
// After     Wu & He 2018, arXiv:1803.08494; spatial norm: Zheng et al. 2022, arXiv:2209.09002
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
const SILU: bool = false;
const SPATIAL: bool = false;
const ONE_PLUS: bool = false;
//! end
override WG: u32 = 64;
override RUN: u32 = 4;
// runs of this dispatch, from the `first` on · t, h, w: of x · tz, hz, wz: of scale and shift · step_…: their ratios
struct Params {
  runs: u32, first: u32, c4: u32, t: u32, h: u32, w: u32, tz: u32, hz: u32, wz: u32,
  step_t: f32, step_h: f32, step_w: f32,
  x_base: u32, y_base: u32, shift_h: u32, shift_w: u32,
}
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> shift: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<Y>>;

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

// e^-x may overflow below −88; from −80 on the result is less than 1e-32 either way.
fn act(v: vec4<f32>) -> vec4<f32> {
  if (SILU) { return v / (1.0 + exp(-max(v, vec4<f32>(-80.0)))); }
  return v;
}

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
  let mean = norm[batch * 2u * step + column];
  let gain = norm[(batch * 2u + 1u) * step + column] * weight[column];
  let offset = bias[column];

  var row_z = 0u;
  if (SPATIAL) {
    let t = frame - batch * params.t;
    let h = row - frame * params.h + params.shift_h;
    let tz = nearest_frame(t, params.step_t, params.tz);
    row_z = ((batch * params.tz + tz) * params.hz + nearest(h, params.step_h, params.hz)) * params.wz;
  }
  var at = params.x_base + (row * params.w + w0) * step + column;
  let stop = at + (min(w0 + RUN, params.w) - w0) * step;
  let to_y = params.y_base - params.x_base;
  // Two positions a round, their loads first: what is computed for one overlaps with the other's.
  if (!SPATIAL) {
    for (; stop - at > step; at += 2u * step) {
      let x0 = vec4<f32>(x[at]);
      let x1 = vec4<f32>(x[at + step]);
      let y0 = act((x0 - mean) * gain + offset);
      let y1 = act((x1 - mean) * gain + offset);
      y[at + to_y] = vec4<Y>(y0);
      y[at + step + to_y] = vec4<Y>(y1);
    }
  }
  var w = w0 + params.shift_w;
  var z = 0xffffffffu;
  var gain_here = gain;
  var offset_here = offset;
  for (; at != stop; at += step) {
    let v = vec4<f32>(x[at]) - mean;
    if (SPATIAL) {
      let z_here = (row_z + nearest(w, params.step_w, params.wz)) * step + column;
      w++;
      if (z_here != z) {
        z = z_here;
        var scale_here = scale[z];
        if (ONE_PLUS) { scale_here += 1.0; }
        gain_here = gain * scale_here;
        offset_here = offset * scale_here + shift[z];
      }
    }
    y[at + to_y] = vec4<Y>(act(v * gain_here + offset_here));
  }
}
