// group_norm_apply.wgsl — y = act((x − mean) · rstd · weight + bias), per channel; then, for the spatial norm, · scale + shift
//
// Shapes    x, y [B, T, H, W, C] · norm [B, 2, C] (group_norm_merge) · weight, bias [C]
//           SPATIAL: scale, shift [B, Tz, Hz, Wz, C] f32, read at the nearest position: floor(i · size_z / size), and where
//           FIRST_APART the first frame takes the first and the others the rest; of a part of a larger picture positions
//           count from shift_h, shift_w on
// Work      one lane per RUN positions in a row × 4 channels: a few for GPUs; many for a CPU adapter, which divides integers lane by
//           lane. Neighbours in a run mostly share a position of scale and shift, which is then read once.
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
const FIRST_APART: bool = false;
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

fn nearest(i: u32, step: f32, size: u32) -> u32 { return min(u32(f32(i) * step), size - 1u); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.runs * params.c4) { return; }
  let column = id % params.c4;
  let run = params.first + id / params.c4;
  let runs_of_row = (params.w + RUN - 1u) / RUN;
  let row = run / runs_of_row;
  let w0 = (run % runs_of_row) * RUN;
  let batch = row / params.h / params.t;
  let mean = norm[batch * 2u * params.c4 + column];
  let gain = norm[(batch * 2u + 1u) * params.c4 + column] * weight[column];
  let offset = bias[column];

  var row_z = 0u;
  if (SPATIAL) {
    let t = row / params.h % params.t;
    var tz = nearest(t, params.step_t, params.tz);
    if (FIRST_APART) { tz = select(1u + nearest(t - 1u, params.step_t, params.tz - 1u), 0u, t == 0u); }
    row_z = ((batch * params.tz + tz) * params.hz + nearest(row % params.h + params.shift_h, params.step_h, params.hz)) * params.wz;
  }
  var at = (row * params.w + w0) * params.c4 + column;
  let end = min(w0 + RUN, params.w);
  var z = 0xffffffffu;
  var gain_here = gain;
  var offset_here = offset;
  for (var i = w0; i < end; i++) {
    if (SPATIAL) {
      let z_here = (row_z + nearest(i + params.shift_w, params.step_w, params.wz)) * params.c4 + column;
      if (z_here != z) {
        z = z_here;
        gain_here = gain * scale[z];
        offset_here = offset * scale[z] + shift[z];
      }
    }
    var v = (vec4<f32>(x[params.x_base + at]) - mean) * gain_here + offset_here;
    if (SILU) { v = v / (1.0 + exp(clamp(-v, vec4<f32>(-80.0), vec4<f32>(80.0)))); }
    y[params.y_base + at] = vec4<Y>(v);
    at += params.c4;
  }
}
