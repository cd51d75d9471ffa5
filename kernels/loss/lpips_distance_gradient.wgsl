// lpips_distance_gradient.wgsl — gradient of lpips_distance with respect to its first picture's features
//
// Shapes    a, b, da [N, P, C] · w [C] · dy [N] · inverse [N, P] as lpips_distance leaves it
// Work      LANES lanes share a position's channels: first u·g, then da
// Dispatch  (ceil(rows / (WG / LANES)), folded, 1), rows = N·P
// Cost      reads a and b twice, the second time from a cache, writes da once
// Needs     C % 4 == 0 · WG a multiple of LANES, both powers of two
// Numerics  f32. Where a is all zeros the result is 0: the package lpips has NaN there, which the rectifier before it drops
//           u = a/(|a| + ε), v = b/(|b| + ε), g = 2 dy/P · w (u − v): da = g/(|a| + ε) − u (u·g)/|a|
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias A = f32;
alias Y = f32;
const LANES: u32 = 16;
const SWAPPED: bool = false;
//! end
const WG: u32 = 64;
const EPS: f32 = 1e-10;
// count: rows of this dispatch, from the `first` on · slope: 2/P
struct Params {
  count: u32, first: u32, positions: u32, c4: u32, a_base: u32, b_base: u32, y_base: u32, slope: f32,
}
@group(0) @binding(1) var<storage, read> a: array<vec4<A>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<A>>;
@group(0) @binding(3) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read> inverse: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> da: array<vec4<Y>>;

var<workgroup> sh_dot: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let here = (wid.y * groups.x + wid.x) * (WG / LANES) + lane / LANES;
  let is_inside = here < params.count;
  let row = params.first + min(here, params.count - 1u);
  let own = lane % LANES;
  let both = inverse[row];
  let inv = select(both, both.yx, SWAPPED);
  let a_at = params.a_base + row * params.c4;
  let b_at = params.b_base + row * params.c4;
  let slope = params.slope * dy[row / params.positions];
  var along = 0.0;
  for (var c = own; c < params.c4; c += LANES) {
    let u = vec4<f32>(a[a_at + c]) * inv.x;
    along += dot(u, w[c] * (u - vec4<f32>(b[b_at + c]) * inv.y));
  }
  if (LANES > 1u) {
    sh_dot[lane] = along;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
      workgroupBarrier();
      if (own < half) { sh_dot[lane] += sh_dot[lane + half]; }
    }
    workgroupBarrier();
    along = sh_dot[lane - own];
  }
  if (!is_inside) { return; }
  let norm = 1.0 / inv.x - EPS;
  let is_zero = norm <= 0.0;
  let across = along / select(norm, 1.0, is_zero);
  let factor = select(slope, 0.0, is_zero);
  for (var c = own; c < params.c4; c += LANES) {
    let u = vec4<f32>(a[a_at + c]) * inv.x;
    let g = w[c] * (u - vec4<f32>(b[b_at + c]) * inv.y);
    da[params.y_base + row * params.c4 + c] = vec4<Y>(factor * (g * inv.x - u * across));
  }
}
