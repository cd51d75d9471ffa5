// qk_norm_rope_gradient_subgroup.wgsl — dx of queries or keys that are normalised per head, then rotated, for CPU adapters
//
// Shapes    as in qk_norm_rope_gradient.wgsl
// Work      one subgroup takes `span` tokens of a head, one after another; a lane holds every WG-th vec4 of one, four of them at most, in
//           named vectors: each value is read once and written once. Sums by subgroupAdd, no barrier
// Dispatch  (ceil(N·R / span), folded, 1); for windows of heads, whose parts begin at `first_part`
// Cost      reads x and dy once, writes dx once
// Needs     subgroups of WG lanes, all of one size · D ≤ 16 · WG
// Numerics  f32; two-pass variance; IN_PLACE: dy lies in dx
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
override WG: u32 = 8;
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

// A lane's vectors of one head.
struct Head { v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32> }

fn kept(v: vec4<f32>, real: bool) -> vec4<f32> { return select(vec4<f32>(), v, real); }
fn total(h: Head) -> f32 { return dot((h.v0 + h.v1) + (h.v2 + h.v3), vec4<f32>(1.0)); }
fn product(a: Head, b: Head) -> f32 { return dot((a.v0 * b.v0 + a.v1 * b.v1) + (a.v2 * b.v2 + a.v3 * b.v3), vec4<f32>(1.0)); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group * params.span >= params.count) { return; }
  // Lanes past the head's last vector read the first once more, and count it as nothing.
  let c0 = select(lane, 0u, lane >= D4);
  let c1 = select(lane + WG, 0u, lane + WG >= D4);
  let c2 = select(lane + 2u * WG, 0u, lane + 2u * WG >= D4);
  let c3 = select(lane + 3u * WG, 0u, lane + 3u * WG >= D4);
  let real = vec4<bool>(lane < D4, lane + WG < D4, lane + 2u * WG < D4, lane + 3u * WG < D4);
  var w = Head();
  if (NORM) {
    w.v0 = kept(norm[c0], real.x);
    if (D4 > WG) { w.v1 = kept(norm[c1], real.y); }
    if (D4 > 2u * WG) { w.v2 = kept(norm[c2], real.z); }
    if (D4 > 3u * WG) { w.v3 = kept(norm[c3], real.w); }
  }
  var products = Head();
  var sums = Head();
  for (var item = group * params.span; item < min((group + 1u) * params.span, params.count); item++) {
    let at = item * D4;
    var turn = 0u;
    if (ROPE) { turn = position[item % params.rows] * D4; }
    var g = Head();
    g.v0 = turned_back(at, turn, c0);
    if (D4 > WG) { g.v1 = turned_back(at, turn, c1); }
    if (D4 > 2u * WG) { g.v2 = turned_back(at, turn, c2); }
    if (D4 > 3u * WG) { g.v3 = turned_back(at, turn, c3); }
    if (NORM) {
      var a = Head();
      a.v0 = kept(vec4<f32>(x[at + c0]), real.x);
      if (D4 > WG) { a.v1 = kept(vec4<f32>(x[at + c1]), real.y); }
      if (D4 > 2u * WG) { a.v2 = kept(vec4<f32>(x[at + c2]), real.z); }
      if (D4 > 3u * WG) { a.v3 = kept(vec4<f32>(x[at + c3]), real.w); }
      // What the normalised value's gradient is: nothing where there is no channel, for the weight is nothing there.
      var h = Head(g.v0 * w.v0, g.v1 * w.v1, g.v2 * w.v2, g.v3 * w.v3);
      var mean_g = 0.0;
      if (!RMS) {
        let means = subgroupAdd(vec2<f32>(total(a), total(h))) / D;
        a = Head(
          kept(a.v0 - means.x, real.x), kept(a.v1 - means.x, real.y), kept(a.v2 - means.x, real.z), kept(a.v3 - means.x, real.w));
        mean_g = means.y;
      }
      let moments = subgroupAdd(vec2<f32>(product(a, a), product(a, h))) / D;
      let rstd = 1.0 / sqrt(moments.x + params.eps);
      a = Head(a.v0 * rstd, a.v1 * rstd, a.v2 * rstd, a.v3 * rstd);
      if (SUMS) {
        products = Head(
          fma(g.v0, a.v0, products.v0), fma(g.v1, a.v1, products.v1), fma(g.v2, a.v2, products.v2), fma(g.v3, a.v3, products.v3));
        sums = Head(sums.v0 + g.v0, sums.v1 + g.v1, sums.v2 + g.v2, sums.v3 + g.v3);
      }
      let slope = moments.y * rstd;
      g = Head(
        (h.v0 - mean_g - a.v0 * slope) * rstd, (h.v1 - mean_g - a.v1 * slope) * rstd,
        (h.v2 - mean_g - a.v2 * slope) * rstd, (h.v3 - mean_g - a.v3 * slope) * rstd);
    }
    if (real.x) { dx[at + c0] = vec4<X>(g.v0); }
    if (D4 > WG && real.y) { dx[at + c1] = vec4<X>(g.v1); }
    if (D4 > 2u * WG && real.z) { dx[at + c2] = vec4<X>(g.v2); }
    if (D4 > 3u * WG && real.w) { dx[at + c3] = vec4<X>(g.v3); }
  }
  if (SUMS) {
    let part = 2u * D4 * (params.first_part + group);
    if (real.x) { parts[part + c0] = products.v0; parts[part + D4 + c0] = sums.v0; }
    if (D4 > WG && real.y) { parts[part + c1] = products.v1; parts[part + D4 + c1] = sums.v1; }
    if (D4 > 2u * WG && real.z) { parts[part + c2] = products.v2; parts[part + D4 + c2] = sums.v2; }
    if (D4 > 3u * WG && real.w) { parts[part + c3] = products.v3; parts[part + D4 + c3] = sums.v3; }
  }
}
