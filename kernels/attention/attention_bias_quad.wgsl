// attention_bias_quad.wgsl — softmax(q·kᵀ + bias) · v, online, for CPU adapters
//
// Shapes    qkv [B·S, 3·N·D]: q, k, v of every head side by side, as one matmul gives them · bias [N, 2S − 1], by
//           key − query + S − 1 (relative_bias.wgsl) · y [B·S, N·D]
// Work      one lane owns 2 queries × COLUMNS vec4 columns of v, all in named vectors; keys go by fours. The lanes of a
//           quad load different keys and hand them round with quadBroadcast, as in matmul_quad. A head wider than 32 is
//           split over workgroups that each compute the scores again: cheaper than sums in an indexed array, which
//           SwiftShader keeps in memory.
// Dispatch  (B · N · ceil(D/32) · ceil(S/(2·WG)), folded, 1)
// Cost      2·B·N·S²·D·(1 + ceil(D/32)) flops; compute bound
// Needs     subgroups (of 4 lanes or a multiple) · D % 4 == 0 (checked in src/ops/attention_bias.ts)
// Numerics  f32 scores, weights, sums; masked keys by a finite sentinel
// After     Milakov & Gimelshein 2018, arXiv:1805.02867; Raffel et al. 2020, arXiv:1910.10683 (the bias; no scaling)
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
const COLUMNS: u32 = 8u;
//! end
override WG: u32 = 8;
struct Params { length: u32, heads: u32, d4: u32, chunks: u32, tiles: u32, groups: u32 }
@group(0) @binding(1) var<storage, read> qkv: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Y>>;

const MASKED: f32 = -1e30;

fn weigh(sum: vec4<f32>, p: vec4<f32>, v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>) -> vec4<f32> {
  return fma(vec4<f32>(p.w), v3, fma(vec4<f32>(p.z), v2, fma(vec4<f32>(p.y), v1, fma(vec4<f32>(p.x), v0, sum))));
}
fn top_of(s: vec4<f32>) -> f32 { return max(max(s.x, s.y), max(s.z, s.w)); }
fn bounded_exp(v: vec4<f32>) -> vec4<f32> { return exp(max(v, vec4<f32>(-80.0))); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let tile = group % params.tiles;
  let chunk = (group / params.tiles) % params.chunks;
  let head = (group / (params.tiles * params.chunks)) % params.heads;
  let first_row = (group / (params.tiles * params.chunks * params.heads)) * params.length;
  let d4 = params.d4;
  let width = params.heads * d4;
  let last = params.length - 1u;
  let quad = lane & 3u;
  let query0 = min((tile * WG + lane) * 2u, last);
  let query1 = min((tile * WG + lane) * 2u + 1u, last);
  let q0 = (first_row + query0) * 3u * width + head * d4;
  let q1 = (first_row + query1) * 3u * width + head * d4;
  // bias of key 0; neighbouring keys are neighbours.
  let bias0 = head * (2u * last + 1u) + last - query0;
  let bias1 = head * (2u * last + 1u) + last - query1;
  let column = chunk * 8u;

  var m0 = MASKED;
  var m1 = MASKED;
  var l0 = 0.0;
  var l1 = 0.0;
  var o00 = vec4<f32>();
  var o01 = vec4<f32>();
  var o02 = vec4<f32>();
  var o03 = vec4<f32>();
  var o04 = vec4<f32>();
  var o05 = vec4<f32>();
  var o06 = vec4<f32>();
  var o07 = vec4<f32>();
  var o10 = vec4<f32>();
  var o11 = vec4<f32>();
  var o12 = vec4<f32>();
  var o13 = vec4<f32>();
  var o14 = vec4<f32>();
  var o15 = vec4<f32>();
  var o16 = vec4<f32>();
  var o17 = vec4<f32>();
  for (var key = 0u; key < params.length; key += 4u) {
    let row = (first_row + min(key + quad, last)) * 3u * width + head * d4;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    for (var d = 0u; d < d4; d++) {
      let a0 = vec4<f32>(qkv[q0 + d]);
      let a1 = vec4<f32>(qkv[q1 + d]);
      let k = vec4<f32>(qkv[row + width + d]);
      let k0 = quadBroadcast(k, 0u);
      let k1 = quadBroadcast(k, 1u);
      let k2 = quadBroadcast(k, 2u);
      let k3 = quadBroadcast(k, 3u);
      s0 += vec4<f32>(dot(a0, k0), dot(a0, k1), dot(a0, k2), dot(a0, k3));
      s1 += vec4<f32>(dot(a1, k0), dot(a1, k1), dot(a1, k2), dot(a1, k3));
    }
    let seen = vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(last);
    let keys = min(vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(last));
    s0 += vec4<f32>(bias[bias0 + keys.x], bias[bias0 + keys.y], bias[bias0 + keys.z], bias[bias0 + keys.w]);
    s1 += vec4<f32>(bias[bias1 + keys.x], bias[bias1 + keys.y], bias[bias1 + keys.z], bias[bias1 + keys.w]);
    s0 = select(vec4<f32>(MASKED), s0, seen);
    s1 = select(vec4<f32>(MASKED), s1, seen);
    let top0 = max(m0, top_of(s0));
    let top1 = max(m1, top_of(s1));
    // Before the first key the sums are zero, whatever they are scaled by.
    let alpha0 = exp(max(m0 - top0, -80.0));
    let alpha1 = exp(max(m1 - top1, -80.0));
    let p0 = select(vec4<f32>(), bounded_exp(s0 - top0), seen);
    let p1 = select(vec4<f32>(), bounded_exp(s1 - top1), seen);
    l0 = fma(l0, alpha0, dot(p0, vec4<f32>(1.0)));
    l1 = fma(l1, alpha1, dot(p1, vec4<f32>(1.0)));
    m0 = top0;
    m1 = top1;
    let value = row + 2u * width;
    if (COLUMNS > 0u) {
      let v = vec4<f32>(qkv[value + min(column + 0u, d4 - 1u)]);
      let v0 = quadBroadcast(v, 0u);
      let v1 = quadBroadcast(v, 1u);
      let v2 = quadBroadcast(v, 2u);
      let v3 = quadBroadcast(v, 3u);
      o00 = weigh(o00 * alpha0, p0, v0, v1, v2, v3);
      o10 = weigh(o10 * alpha1, p1, v0, v1, v2, v3);
    }
    if (COLUMNS > 1u) {
      let v = vec4<f32>(qkv[value + min(column + 1u, d4 - 1u)]);
      let v0 = quadBroadcast(v, 0u);
      let v1 = quadBroadcast(v, 1u);
      let v2 = quadBroadcast(v, 2u);
      let v3 = quadBroadcast(v, 3u);
      o01 = weigh(o01 * alpha0, p0, v0, v1, v2, v3);
      o11 = weigh(o11 * alpha1, p1, v0, v1, v2, v3);
    }
    if (COLUMNS > 2u) {
      let v = vec4<f32>(qkv[value + min(column + 2u, d4 - 1u)]);
      let v0 = quadBroadcast(v, 0u);
      let v1 = quadBroadcast(v, 1u);
      let v2 = quadBroadcast(v, 2u);
      let v3 = quadBroadcast(v, 3u);
      o02 = weigh(o02 * alpha0, p0, v0, v1, v2, v3);
      o12 = weigh(o12 * alpha1, p1, v0, v1, v2, v3);
    }
    if (COLUMNS > 3u) {
      let v = vec4<f32>(qkv[value + min(column + 3u, d4 - 1u)]);
      let v0 = quadBroadcast(v, 0u);
      let v1 = quadBroadcast(v, 1u);
      let v2 = quadBroadcast(v, 2u);
      let v3 = quadBroadcast(v, 3u);
      o03 = weigh(o03 * alpha0, p0, v0, v1, v2, v3);
      o13 = weigh(o13 * alpha1, p1, v0, v1, v2, v3);
    }
    if (COLUMNS > 4u) {
      let v = vec4<f32>(qkv[value + min(column + 4u, d4 - 1u)]);
      let v0 = quadBroadcast(v, 0u);
      let v1 = quadBroadcast(v, 1u);
      let v2 = quadBroadcast(v, 2u);
      let v3 = quadBroadcast(v, 3u);
      o04 = weigh(o04 * alpha0, p0, v0, v1, v2, v3);
      o14 = weigh(o14 * alpha1, p1, v0, v1, v2, v3);
    }
    if (COLUMNS > 5u) {
      let v = vec4<f32>(qkv[value + min(column + 5u, d4 - 1u)]);
      let v0 = quadBroadcast(v, 0u);
      let v1 = quadBroadcast(v, 1u);
      let v2 = quadBroadcast(v, 2u);
      let v3 = quadBroadcast(v, 3u);
      o05 = weigh(o05 * alpha0, p0, v0, v1, v2, v3);
      o15 = weigh(o15 * alpha1, p1, v0, v1, v2, v3);
    }
    if (COLUMNS > 6u) {
      let v = vec4<f32>(qkv[value + min(column + 6u, d4 - 1u)]);
      let v0 = quadBroadcast(v, 0u);
      let v1 = quadBroadcast(v, 1u);
      let v2 = quadBroadcast(v, 2u);
      let v3 = quadBroadcast(v, 3u);
      o06 = weigh(o06 * alpha0, p0, v0, v1, v2, v3);
      o16 = weigh(o16 * alpha1, p1, v0, v1, v2, v3);
    }
    if (COLUMNS > 7u) {
      let v = vec4<f32>(qkv[value + min(column + 7u, d4 - 1u)]);
      let v0 = quadBroadcast(v, 0u);
      let v1 = quadBroadcast(v, 1u);
      let v2 = quadBroadcast(v, 2u);
      let v3 = quadBroadcast(v, 3u);
      o07 = weigh(o07 * alpha0, p0, v0, v1, v2, v3);
      o17 = weigh(o17 * alpha1, p1, v0, v1, v2, v3);
    }
  }

  for (var r = 0u; r < 2u; r++) {
    let query = (tile * WG + lane) * 2u + r;
    if (query > last) { return; }
    let inverse = 1.0 / select(l1, l0, r == 0u);
    let at = (first_row + query) * width + head * d4 + column;
    let columns = min(d4 - column, 8u);
    if (columns > 0u) { y[at + 0u] = vec4<Y>(select(o10, o00, r == 0u) * inverse); }
    if (columns > 1u) { y[at + 1u] = vec4<Y>(select(o11, o01, r == 0u) * inverse); }
    if (columns > 2u) { y[at + 2u] = vec4<Y>(select(o12, o02, r == 0u) * inverse); }
    if (columns > 3u) { y[at + 3u] = vec4<Y>(select(o13, o03, r == 0u) * inverse); }
    if (columns > 4u) { y[at + 4u] = vec4<Y>(select(o14, o04, r == 0u) * inverse); }
    if (columns > 5u) { y[at + 5u] = vec4<Y>(select(o15, o05, r == 0u) * inverse); }
    if (columns > 6u) { y[at + 6u] = vec4<Y>(select(o16, o06, r == 0u) * inverse); }
    if (columns > 7u) { y[at + 7u] = vec4<Y>(select(o17, o07, r == 0u) * inverse); }
  }
}
