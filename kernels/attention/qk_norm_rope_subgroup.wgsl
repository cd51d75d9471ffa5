// qk_norm_rope_subgroup.wgsl — normalise queries and keys per head, then rotate them, for CPU adapters
//
// Shapes    as in qk_norm_rope.wgsl
// Work      one subgroup takes ITEMS tokens of a head, one after another; a lane holds every WG-th vec4 of one, VECTORS of them, in named
//           vectors: each value is read once and written once. Sums by subgroupAdd: a barrier ends a CPU adapter's loop over
//           lanes, and a sum from workgroup memory is D/4 loads for every lane.
// Dispatch  (ceil(N·R / ITEMS), folded, 1); for windows of heads
// Cost      reads and writes q and k once
// Needs     subgroups of WG lanes, all of one size · D ≤ 16 · WG
// Numerics  f32; two-pass variance
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
override WG: u32 = 8;
//! part shared/qk_norm_rope.wgsl
//! specialise
alias X = f32;
const D4: u32 = 16u;
const NORM: bool = true;
const ROPE: bool = true;
const RMS: bool = false;
const IN_PLACE: bool = true;
//! end
struct Params { rows: u32, count: u32, eps: f32 }
@group(0) @binding(1) var<storage, read> q_from: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> k_from: array<vec4<X>>;
@group(0) @binding(3) var<storage, read> norm_q: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> norm_k: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> rope: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> position: array<u32>;
@group(0) @binding(7) var<storage, read_write> q: array<vec4<X>>;
@group(0) @binding(8) var<storage, read_write> k: array<vec4<X>>;

const D: f32 = f32(D4 * 4u);

// Two pairs of channels, turned by their angles: cs has (cos, sin) of each.
fn rotate(a: vec4<f32>, cs: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(a.x * cs.x - a.y * cs.y, a.y * cs.x + a.x * cs.y, a.z * cs.z - a.w * cs.w, a.w * cs.z + a.z * cs.w);
}
//! part ends

const ITEMS: u32 = 4u;

// A lane's vectors of one head, of q and of k.
struct Head { q0: vec4<f32>, q1: vec4<f32>, q2: vec4<f32>, q3: vec4<f32>, k0: vec4<f32>, k1: vec4<f32>, k2: vec4<f32>, k3: vec4<f32> }

fn load_q(at: u32) -> vec4<f32> {
  if (IN_PLACE) { return vec4<f32>(q[at]); }
  return vec4<f32>(q_from[at]);
}
fn load_k(at: u32) -> vec4<f32> {
  if (IN_PLACE) { return vec4<f32>(k[at]); }
  return vec4<f32>(k_from[at]);
}
fn kept(v: vec4<f32>, real: bool) -> vec4<f32> { return select(vec4<f32>(), v, real); }

fn store(at: u32, c: u32, turn: u32, a: vec4<f32>, b: vec4<f32>, rstd: vec2<f32>) {
  var x = a;
  var y = b;
  if (NORM) {
    if (RMS) {
      x = x * rstd.x * norm_q[c];
      y = y * rstd.y * norm_k[c];
    } else {
      x = x * rstd.x * norm_q[c] + norm_q[D4 + c];
      y = y * rstd.y * norm_k[c] + norm_k[D4 + c];
    }
  }
  if (ROPE) {
    let cs = rope[turn + c];
    x = rotate(x, cs);
    y = rotate(y, cs);
  }
  q[at + c] = vec4<X>(x);
  k[at + c] = vec4<X>(y);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = (wid.y * groups.x + wid.x) * ITEMS;
  // Lanes past the head's last vector hold the first once more, and count it as nothing.
  let c0 = select(lane, 0u, lane >= D4);
  let c1 = select(lane + WG, 0u, lane + WG >= D4);
  let c2 = select(lane + 2u * WG, 0u, lane + 2u * WG >= D4);
  let c3 = select(lane + 3u * WG, 0u, lane + 3u * WG >= D4);
  let real = vec4<bool>(lane < D4, lane + WG < D4, lane + 2u * WG < D4, lane + 3u * WG < D4);
  let one = vec4<f32>(1.0);
  for (var item = first; item < min(first + ITEMS, params.count); item++) {
    let at = item * D4;
    var h = Head();
    h.q0 = load_q(at + c0);
    h.k0 = load_k(at + c0);
    if (D4 > WG) { h.q1 = load_q(at + c1); h.k1 = load_k(at + c1); }
    if (D4 > 2u * WG) { h.q2 = load_q(at + c2); h.k2 = load_k(at + c2); }
    if (D4 > 3u * WG) { h.q3 = load_q(at + c3); h.k3 = load_k(at + c3); }
    var rstd = vec2<f32>(1.0);
    if (NORM) {
      var mean = vec2<f32>();
      if (!RMS) {
        mean = subgroupAdd(vec2<f32>(
          dot(kept(h.q0, real.x) + kept(h.q1, real.y) + kept(h.q2, real.z) + kept(h.q3, real.w), one),
          dot(kept(h.k0, real.x) + kept(h.k1, real.y) + kept(h.k2, real.z) + kept(h.k3, real.w), one))) / D;
      }
      h.q0 = kept(h.q0 - mean.x, real.x);
      h.q1 = kept(h.q1 - mean.x, real.y);
      h.q2 = kept(h.q2 - mean.x, real.z);
      h.q3 = kept(h.q3 - mean.x, real.w);
      h.k0 = kept(h.k0 - mean.y, real.x);
      h.k1 = kept(h.k1 - mean.y, real.y);
      h.k2 = kept(h.k2 - mean.y, real.z);
      h.k3 = kept(h.k3 - mean.y, real.w);
      rstd = 1.0 / sqrt(subgroupAdd(vec2<f32>(
        dot(h.q0 * h.q0 + h.q1 * h.q1 + h.q2 * h.q2 + h.q3 * h.q3, one),
        dot(h.k0 * h.k0 + h.k1 * h.k1 + h.k2 * h.k2 + h.k3 * h.k3, one))) / D + params.eps);
    }
    var turn = 0u;
    if (ROPE) { turn = position[item % params.rows] * D4; }
    if (real.x) { store(at, c0, turn, h.q0, h.k0, rstd); }
    if (D4 > WG && real.y) { store(at, c1, turn, h.q1, h.k1, rstd); }
    if (D4 > 2u * WG && real.z) { store(at, c2, turn, h.q2, h.k2, rstd); }
    if (D4 > 3u * WG && real.w) { store(at, c3, turn, h.q3, h.k3, rstd); }
  }
}
