// avg_pool2d.wgsl — the mean of each window of KH × KW, windows side by side
//
// Shapes    x [B, T, H, W, C] → y [B, T, H/KH, W/KW, C], rounded down
// Work      one lane per vector of y
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Needs     C % 4 == 0
// Numerics  f32 sums, one value after another
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
const KH: u32 = 2;
const KW: u32 = 2;
//! end
override WG: u32 = 64;
// count: vectors of y of this dispatch, from the `first` on
struct Params { count: u32, first: u32, c4: u32, h_in: u32, w_in: u32, h_out: u32, w_out: u32, x_base: u32, y_base: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<X>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  //! part shared/pool_place.wgsl
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.count) { return; }
  let at = params.first + id;
  let position = at / params.c4;
  let row = position / params.w_out;
  //! part ends
  let row_in = row / params.h_out * params.h_in + row % params.h_out * KH;
  let corner = params.x_base + (row_in * params.w_in + position % params.w_out * KW) * params.c4 + at % params.c4;
  var sum = vec4<f32>(0.0);
  for (var i = 0u; i < KH; i++) {
    for (var j = 0u; j < KW; j++) { sum += vec4<f32>(x[corner + (i * params.w_in + j) * params.c4]); }
  }
  y[params.y_base + at] = vec4<X>(sum / f32(KH * KW));
}
