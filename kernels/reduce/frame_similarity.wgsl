// frame_similarity.wgsl — y[t, j] = the cosine of x[t] and x[t + j − R]; 0 before the first frame and behind the last
//
// Shapes    x [T, C4 vectors] → y [T, P], P = 2R + 1 rounded up to a multiple of 4; columns past 2R + 1 are 0
// Work      one lane per value of y, which reads two rows of x: neighbours read the same ones
// Dispatch  (ceil(T · P / WG), folded, 1)
// Cost      reads x 2 · P times, from a cache; 6 · T · P · C flops
// Numerics  f32 sums; a length counts as 1e-12 at least, as in torch's normalize
// After     Souček & Lokoč 2020, arXiv:2008.04838
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
override WG: u32 = 64;
struct Params { count: u32, frames: u32, columns: u32, radius: u32, c4: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * WG + lane;
  if (i >= params.count) { return; }
  let frame = i / params.columns;
  let column = i % params.columns;
  let other = i32(frame + column) - i32(params.radius);
  var cosine = 0.0;
  if (column <= 2u * params.radius && other >= 0 && other < i32(params.frames)) {
    let own_row = frame * params.c4;
    let other_row = u32(other) * params.c4;
    var product = 0.0;
    var own_square = 0.0;
    var other_square = 0.0;
    for (var c = 0u; c < params.c4; c++) {
      let a = vec4<f32>(x[own_row + c]);
      let b = vec4<f32>(x[other_row + c]);
      product += dot(a, b);
      own_square += dot(a, a);
      other_square += dot(b, b);
    }
    cosine = product / (max(sqrt(own_square), 1e-12) * max(sqrt(other_square), 1e-12));
  }
  y[i] = cosine;
}
