// blur_pool_gradient.wgsl — dx of blur_pool: each value gathers from the windows that hold it and its mirror images
//
// Shapes    dx [B, T, H, W, C] · dy [B, T, H', W', C]
// Work      one lane per vector of dx. A row (or column) lies at up to three places of the padded ones: its own, and where it is mirrored
//           above and below; each place is under one or two windows.
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      reads dy about 9 times, of which all but one come from a cache, writes dx once; bandwidth bound
// Needs     C % 4 == 0; H, W >= 3
// Numerics  f32, in a fixed order
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias G = f32;
alias Y = f32;
//! end
override WG: u32 = 64;
// count: vectors of dx of this dispatch, from the `first` on
struct Params { count: u32, first: u32, c4: u32, h_in: u32, w_in: u32, h_out: u32, w_out: u32, dy_base: u32, dx_base: u32 }
@group(0) @binding(1) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<Y>>;

// Where the i-th of `size` lies among the padded ones: its own place, and its images before the first and after the last; −1: none.
fn place(i: u32, size: u32, image: u32) -> i32 {
  if (image == 0u) { return i32(i) + 2; }
  if (image == 1u) { return select(-1, 2 - i32(i), i == 1u || i == 2u); }
  let past = 2 * (i32(size) - 1) - i32(i);
  return select(-1, past + 2, past == i32(size) || past == i32(size) + 1);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.count) { return; }
  let at = params.first + id;
  let column = at % params.c4;
  let position = at / params.c4;
  let row = position / params.w_in;
  let above = row / params.h_in * params.h_out;
  var sum = vec4<f32>();
  for (var m = 0u; m < 3u; m++) {
    let h = place(row % params.h_in, params.h_in, m);
    if (h < 0) { continue; }
    for (var i = max(h - 1, 0) / 2; i <= min(h / 2, i32(params.h_out) - 1); i++) {
      let share_h = select(1.0, 2.0, h - 2 * i == 1);
      for (var n = 0u; n < 3u; n++) {
        let w = place(position % params.w_in, params.w_in, n);
        if (w < 0) { continue; }
        for (var j = max(w - 1, 0) / 2; j <= min(w / 2, i32(params.w_out) - 1); j++) {
          let there = params.dy_base + ((above + u32(i)) * params.w_out + u32(j)) * params.c4 + column;
          sum += vec4<f32>(dy[there]) * (share_h * select(1.0, 2.0, w - 2 * j == 1));
        }
      }
    }
  }
  dx[params.dx_base + at] = vec4<Y>(sum * 0.0625);
}
