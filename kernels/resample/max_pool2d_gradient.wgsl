// max_pool2d_gradient.wgsl — dx of max_pool2d: each value gets dy of the windows of which it is the first of the largest
//
// Shapes    x, dx [B, T, H, W, C] · y, dy [B, T, H', W', C]
// Work      one lane per vector of dx: it goes through the windows that hold its place, at most K² of them, so nothing is added to from
//           two sides. Of equal values in a window the first by row and column counts, as in PyTorch: where a value is y's own, those
//           before it are looked at.
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      reads x, y and dy once and a little more, writes dx once; bandwidth bound
// Needs     C % 4 == 0
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias G = f32;
alias Y = f32;
const K: u32 = 2;
const S: u32 = 2;
//! end
override WG: u32 = 64;
// count: vectors of dx of this dispatch, from the `first` on
struct Params {
  count: u32, first: u32, c4: u32, h_in: u32, w_in: u32, h_out: u32, w_out: u32,
  x_base: u32, y_base: u32, dy_base: u32, dx_base: u32,
}
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> y: array<vec4<X>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<Y>>;

// The first window that holds a row (or column).
fn first_window(i: u32) -> u32 { return select((i - K) / S + 1u, 0u, i < K); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.count) { return; }
  let at = params.first + id;
  let column = at % params.c4;
  let position = at / params.c4;
  let w = position % params.w_in;
  let row = position / params.w_in;
  let h = row % params.h_in;
  let frame = row / params.h_in;
  let own = x[params.x_base + at];
  let end_h = min(h / S + 1u, params.h_out);
  let end_w = min(w / S + 1u, params.w_out);
  var sum = vec4<f32>();
  for (var i = first_window(h); i < end_h; i++) {
    for (var j = first_window(w); j < end_w; j++) {
      let there = ((frame * params.h_out + i) * params.w_out + j) * params.c4 + column;
      var is_it = own == y[params.y_base + there];
      if (!any(is_it)) { continue; }
      for (var r = i * S; r <= h; r++) {
        let end = select(j * S + K, w, r == h);
        for (var c = j * S; c < end; c++) {
          is_it = is_it & (x[params.x_base + ((frame * params.h_in + r) * params.w_in + c) * params.c4 + column] != own);
        }
      }
      sum += select(vec4<f32>(), vec4<f32>(dy[params.dy_base + there]), is_it);
    }
  }
  dx[params.dx_base + at] = vec4<Y>(sum);
}
