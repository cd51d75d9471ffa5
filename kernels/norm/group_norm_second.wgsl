// group_norm_second.wgsl — how a norm's gradient, or what it makes of a change of x, moves with x: the second derivative, on two directions
//
// Shapes    x, dy, dz, dx [B, T, H, W, C] · of_dy, of_dz [B, 4, C] (group_norm_gradient_merge of dy and of dz, weights 1): mean, rstd, mean
//           of dy (dz), of dy · x̂ (dz · x̂) · products [B, 4, C] (of dz, with dy in x̂'s place), whose last row is the mean of dy · dz
//           dx = d/dx Σ dz · rstd · (dy − mean(dy) − x̂ · mean(dy · x̂)), every channel by itself
//              = −rstd² · (x̂ · (mean(dy · dz) − mean(dy) · mean(dz) − 3ab) + a · (dy − mean(dy)) + b · (dz − mean(dz))),
//           a = mean(dz · x̂), b = mean(dy · x̂)
// Work      one lane per RUN positions in a row × 4 channels, as in group_norm_apply
// Dispatch  (ceil(runs · C/4 / WG), folded, 1), runs = B·T·H·ceil(W/RUN)
// Cost      reads x, dy and dz once, writes dx once; bandwidth bound
// Needs     C % 4 == 0 (channels padded with zeros; so are the records); a channel is a group
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
override WG: u32 = 64;
override RUN: u32 = 4;
// runs of this dispatch, from the `first` on · t, h, w: of x
struct Params { runs: u32, first: u32, c4: u32, t: u32, h: u32, w: u32, x_base: u32, dy_base: u32, dz_base: u32, dx_base: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dz: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> of_dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> of_dz: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> products: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;

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
  let record = batch * 4u * step + column;
  let mean = of_dy[record];
  let rstd = of_dy[record + step];
  let mean_dy = of_dy[record + 2u * step];
  let b = of_dy[record + 3u * step];
  let mean_dz = of_dz[record + 2u * step];
  let a = of_dz[record + 3u * step];
  let along = products[record + 3u * step] - mean_dy * mean_dz - 3.0 * a * b;
  var at = (row * params.w + w0) * step + column;
  for (var w = w0; w < min(w0 + RUN, params.w); w++) {
    let normalised = (x[params.x_base + at] - mean) * rstd;
    let sum = normalised * along + a * (dy[params.dy_base + at] - mean_dy) + b * (dz[params.dz_base + at] - mean_dz);
    dx[params.dx_base + at] = -rstd * rstd * sum;
    at += step;
  }
}
