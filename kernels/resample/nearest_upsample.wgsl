// nearest_upsample.wgsl — rows and columns doubled, and frames where asked
//
// Shapes    x [B, T, H, W, C] → y [B, T', 2H, 2W, C]; T' = T, or with DOUBLED_FRAMES 2T, or with FIRST_APART 2T − 1:
//           the first frame then stays single
// Work      one lane per vector of y
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Needs     C % 4 == 0
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
const DOUBLED_FRAMES: bool = false;
const FIRST_APART: bool = false;
//! end
override WG: u32 = 64;
// count: vectors of y of this dispatch, from the `first` on · t_out, h_out, w_out: of y · t_in: frames of x
struct Params { count: u32, first: u32, c4: u32, t_in: u32, t_out: u32, h_out: u32, w_out: u32, x_base: u32, y_base: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<X>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.count) { return; }
  let at = params.first + id;
  let position = at / params.c4;
  let column = position % params.w_out;
  let row = position / params.w_out;
  let frame = row / params.h_out;
  var t = frame % params.t_out;
  if (DOUBLED_FRAMES) { t = (t + select(0u, 1u, FIRST_APART)) >> 1u; }
  let source_row = (frame / params.t_out * params.t_in + t) * (params.h_out >> 1u) + ((row % params.h_out) >> 1u);
  y[params.y_base + at] =
    x[params.x_base + (source_row * (params.w_out >> 1u) + (column >> 1u)) * params.c4 + at % params.c4];
}
