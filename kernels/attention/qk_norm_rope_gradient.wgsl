// qk_norm_rope_gradient.wgsl — dx of queries or keys that are normalised per head, then rotated; parts of the norm's gradient
//
// Shapes    x, dy, dx [N, R, D] · norm: weight then bias, [2, D]; RMS: weight, [D] · rope, position as in qk_norm_rope.wgsl
//           parts [workgroups, 2, D] (SUMS): Σ g · x̂, then Σ g over a workgroup's tokens, g = dy rotated back, x̂ the normalised head
// Work      one lane holds one vec4 of one (head, token); the D/4 lanes of a head share their sums in workgroup memory. PER tokens at a
//           time, `span` times. With g' = g · weight and m(·) the mean over a head: dx = rstd · (g' − m(g') − x̂ · m(g' · x̂)), RMS
//           without m(g')
// Dispatch  (ceil(N·R / (PER · span)), folded, 1); for windows of heads, whose parts begin at `first_part`
// Cost      reads x and dy once, writes dx once; bandwidth bound
// Numerics  f32; two-pass variance; IN_PLACE: dy lies in dx
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const PER: u32 = 4u;
//! end
//! part shared/qk_norm_rope_gradient.wgsl
//! specialise
alias X = f32;
alias G = f32;
const D4: u32 = 16u;
const NORM: bool = true;
const ROPE: bool = true;
const RMS: bool = false;
const SUMS: bool = false;
const IN_PLACE: bool = false;
//! end
struct Params { rows: u32, count: u32, span: u32, first_part: u32, eps: f32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> rope: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> position: array<u32>;
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<X>>;
@group(0) @binding(7) var<storage, read_write> parts: array<vec4<f32>>;

const D: f32 = f32(D4 * 4u);

// The gradient with respect to what was rotated: two pairs of channels, turned back by their angles.
fn turned_back(at: u32, turn: u32, c: u32) -> vec4<f32> {
  var a: vec4<f32>;
  if (IN_PLACE) { a = vec4<f32>(dx[at + c]); } else { a = vec4<f32>(dy[at + c]); }
  if (!ROPE) { return a; }
  let cs = rope[turn + c];
  return vec4<f32>(a.x * cs.x + a.y * cs.y, a.y * cs.x - a.x * cs.y, a.z * cs.z + a.w * cs.w, a.w * cs.z - a.z * cs.w);
}
//! part ends

const WG: u32 = D4 * PER;
//! part shared/head_sum.wgsl
var<workgroup> sh_sum: array<vec2<f32>, WG>;

fn head_sum(value: vec2<f32>, lane: u32) -> vec2<f32> {
  workgroupBarrier();
  sh_sum[lane] = value;
  workgroupBarrier();
  var total = vec2<f32>();
  let first = (lane / D4) * D4;
  for (var i = 0u; i < D4; i++) { total += sh_sum[first + i]; }
  return total;
}
//! part ends
var<workgroup> sh_part: array<vec4<f32>, WG>;

// Over the workgroup's tokens, for the lanes of the first.
fn token_sum(value: vec4<f32>, lane: u32) -> vec4<f32> {
  workgroupBarrier();
  sh_part[lane] = value;
  workgroupBarrier();
  var total = vec4<f32>();
  for (var i = lane % D4; i < WG; i += D4) { total += sh_part[i]; }
  return total;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  // The grid may be folded past the last; its lanes have nothing to do, together.
  if (group * PER * params.span >= params.count) { return; }
  let c = lane % D4;
  var products = vec4<f32>();
  var sums = vec4<f32>();
  for (var s = 0u; s < params.span; s++) {
    let item = (group * params.span + s) * PER + lane / D4;
    // Past the end the last once more, for the barriers; nothing is stored of it, or summed.
    let inside = item < params.count;
    let token = min(item, params.count - 1u);
    let at = token * D4;
    var turn = 0u;
    if (ROPE) { turn = position[token % params.rows] * D4; }
    var g = turned_back(at, turn, c);
    if (NORM) {
      let weight = norm[c];
      let one = vec4<f32>(1.0);
      var a = vec4<f32>(x[at + c]);
      var mean_g = 0.0;
      if (!RMS) {
        let means = head_sum(vec2<f32>(dot(a, one), dot(g * weight, one)), lane) / D;
        a -= means.x;
        mean_g = means.y;
      }
      let moments = head_sum(vec2<f32>(dot(a, a), dot(a, g * weight)), lane) / D;
      let rstd = 1.0 / sqrt(moments.x + params.eps);
      a *= rstd;
      if (SUMS && inside) {
        products = fma(g, a, products);
        sums += g;
      }
      g = (g * weight - mean_g - a * (moments.y * rstd)) * rstd;
    }
    if (inside) { dx[at + c] = vec4<X>(g); }
  }
  if (SUMS) {
    let all_products = token_sum(products, lane);
    let all_sums = token_sum(sums, lane);
    if (lane < D4) {
      let part = 2u * D4 * (params.first_part + group);
      parts[part + lane] = all_products;
      parts[part + D4 + lane] = all_sums;
    }
  }
}
