// blur_pool.wgsl — every second row and column, after a blur of [1, 2, 1]/4 along both; two rows and columns around are mirrored
//
// Shapes    x [B, T, H, W, C] → y [B, T, (H + 1)/2 + 1, (W + 1)/2 + 1, C], rounded down
// Work      one lane per vector of y
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      reads x 9/4 times, of which all but one come from a cache; bandwidth bound
// Needs     C % 4 == 0; H, W >= 3
// Numerics  f32
// After     Zhang 2019, arXiv:1904.11486; two rows and columns of padding: Ghildyal & Liu 2022, arXiv:2207.13686
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
override WG: u32 = 64;
// count: vectors of y of this dispatch, from the `first` on
struct Params { count: u32, first: u32, c4: u32, h_in: u32, w_in: u32, h_out: u32, w_out: u32, x_base: u32, y_base: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<X>>;

// Which of `size` lies at a place of the padded ones: mirrored at the borders, which are not doubled.
fn mirrored(place: u32, size: u32) -> u32 {
  let i = i32(place) - 2;
  let last = i32(size) - 1;
  return u32(last - abs(last - abs(i)));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  //! part shared/pool_place.wgsl
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.count) { return; }
  let at = params.first + id;
  let position = at / params.c4;
  let row = position / params.w_out;
  //! part ends
  let above = row / params.h_out * params.h_in;
  let h = row % params.h_out * 2u;
  let w = position % params.w_out * 2u;
  var sum = vec4<f32>();
  for (var i = 0u; i < 3u; i++) {
    let left = params.x_base + (above + mirrored(h + i, params.h_in)) * params.w_in * params.c4 + at % params.c4;
    let a = vec4<f32>(x[left + mirrored(w, params.w_in) * params.c4]);
    let b = vec4<f32>(x[left + mirrored(w + 1u, params.w_in) * params.c4]);
    let c = vec4<f32>(x[left + mirrored(w + 2u, params.w_in) * params.c4]);
    sum += (a + 2.0 * b + c) * select(1.0, 2.0, i == 1u);
  }
  y[params.y_base + at] = vec4<X>(sum * 0.0625);
}
