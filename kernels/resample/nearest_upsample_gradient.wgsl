// nearest_upsample_gradient.wgsl — the sum of the positions of dy that nearest_upsample read of each position of x
//
// Shapes    dy [B, T', 2H, 2W, C] → dx [B, T, H, W, C]; T' = T, or with DOUBLED_FRAMES 2T, or with FIRST_APART 2T − 1
// Work      one lane per vector of dx; frame by frame, the sums of frames in their order
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      reads dy once, writes dx once; bandwidth bound
// Needs     C % 4 == 0
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias G = f32;
const DOUBLED_FRAMES: bool = false;
const FIRST_APART: bool = false;
//! end
override WG: u32 = 64;
// count: vectors of dx of this dispatch, from the `first` on · t, h, w: of dx · t_out: frames of dy · dy and last are windows of one
// tensor, for what lies in the first and in the last of the frames that read a position
struct Params { count: u32, first: u32, c4: u32, t: u32, t_out: u32, h: u32, w: u32, dy_base: u32, last_base: u32, dx_base: u32 }
@group(0) @binding(1) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(2) var<storage, read> last: array<vec4<G>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<G>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.count) { return; }
  let at = params.first + id;
  let position = at / params.c4;
  let row = position / params.w;
  let frame = row / params.h;
  let t = frame % params.t;
  let step = params.c4;
  let line = 2u * params.w * step;
  let plane = 2u * params.h * line;
  let within = 2u * (row % params.h) * line + 2u * (position % params.w) * step + at % step;
  let apart = select(0u, 1u, FIRST_APART);
  let single = !DOUBLED_FRAMES || (FIRST_APART && t == 0u);
  var frame_dy = frame / params.t * params.t_out + t;
  if (DOUBLED_FRAMES && t > 0u) { frame_dy += t - apart; }
  let from_dy = params.dy_base + frame_dy * plane + within;
  var sum = (vec4<f32>(dy[from_dy]) + vec4<f32>(dy[from_dy + step])) +
    (vec4<f32>(dy[from_dy + line]) + vec4<f32>(dy[from_dy + line + step]));
  if (!single) {
    let from_last = params.last_base + (frame_dy + 1u) * plane + within;
    sum += (vec4<f32>(last[from_last]) + vec4<f32>(last[from_last + step])) +
      (vec4<f32>(last[from_last + line]) + vec4<f32>(last[from_last + line + step]));
  }
  dx[params.dx_base + at] = vec4<G>(sum);
}
