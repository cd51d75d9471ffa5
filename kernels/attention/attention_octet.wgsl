// attention_octet.wgsl — softmax(scale · q·kᵀ + bias) · v, online, for CPU adapters with 8 lanes
//
// Shapes    q [N, Rq, D] · k [N, Rk, D] · v in panels of 16 keys, [N, ceil(Rk/16), D, 16] (transpose_panels.wgsl)
//           y [Rq, N·D] · tiles: (first query, queries, first key, keys' end) of each workgroup
//           BIAS: bias [N, 2L − 1] by key − query + L − 1, both counted from their segment's first, L the longest segment's length;
//           tiles goes on with as many (segment's first query, 0, 0, 0)
//           LSE: lse [N, Rq], log Σ exp(score) of a query
// Work      one lane owns 4 queries, a subgroup 32 and 32 keys at a time, in two outer products like matmul_octet's: lane i of 8
//           loads the vector of key i (for scores) or of column i (for sums), broadcasts hand it round, and every lane
//           multiplies its queries by it. The softmax is within a lane, a vector over its queries. A lane's weights
//           serve as they are, no load: 4 loads for 512 multiply-adds of v, 8 of q and k. They are named vectors, so the loop over
//           keys takes its 4 off the front of 32 and puts them back at the end, a third of what loads would cost.
// Registers 128 scores and 4·D sums of all lanes, in memory, read, masked and written once for 4 multiply-adds. Sums of at most 32
//           columns a loop, D8 = ceil(D/8) eights in all: a loop of more leaves the 32 KB of an instruction cache.
// Dispatch  (tiles · heads, folded, 1)
// Cost      4·Rq·Rk·D·N flops; compute bound
// Needs     subgroups of 8 lanes or a multiple, WG lanes · D % 4 == 0, D ≤ 128 (checked in src/ops/attention.ts)
// Numerics  f32 scores, weights, sums; masked keys by a finite sentinel; keys past a segment's end never count
// After     Dao et al. 2022, arXiv:2205.14135; Milakov & Gimelshein 2018, arXiv:1805.02867
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
const D8: u32 = 8u;
//! end
override WG: u32 = 8;
@group(0) @binding(1) var<storage, read> q: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<X>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<X>>;
//! part shared/attention.wgsl
// d4: vectors of a row of a head · rows_q, rows_k: of a head · heads: bound ones, from head_base on of heads_total · tiles: of the list
// row_base: query that y begins with · longest: positions of the longest segment
struct Params {
  d4: u32, rows_q: u32, rows_k: u32, heads: u32, head_base: u32, heads_total: u32,
  tiles: u32, row_base: u32, scale: f32, longest: u32,
}
@group(0) @binding(4) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<Y>>;
// LSE: logarithms of the sums of exp(score), for gradients, [N, Rq] of all heads
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;
//! specialise
alias Y = f32;
const BIAS: bool = false;
const LSE: bool = false;
//! end

const MASKED: f32 = -1e30;
//! part ends

// What a lane has of 8 keys (scores, weights) or of 8 columns (sums): a vector over its 4 queries each.

//! part shared/octet.wgsl
// Of each of 8 rows that the lanes hold between them, a vector of the lane's own columns.
struct Eight { r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>, r4: vec4<f32>, r5: vec4<f32>, r6: vec4<f32>, r7: vec4<f32> }

// Adds 4 products each: lane i has the vector of row i in `a`, every lane what its own columns multiply it by in `b`.
fn add(c: ptr<function, Eight>, a: vec4<f32>, b: mat4x4<f32>) {
  (*c).r0 += b * subgroupBroadcast(a, 0u);
  (*c).r1 += b * subgroupBroadcast(a, 1u);
  (*c).r2 += b * subgroupBroadcast(a, 2u);
  (*c).r3 += b * subgroupBroadcast(a, 3u);
  (*c).r4 += b * subgroupBroadcast(a, 4u);
  (*c).r5 += b * subgroupBroadcast(a, 5u);
  (*c).r6 += b * subgroupBroadcast(a, 6u);
  (*c).r7 += b * subgroupBroadcast(a, 7u);
}
//! part ends
// For other maxima.
fn scale(c: ptr<function, Eight>, f: vec4<f32>) {
  (*c).r0 *= f;
  (*c).r1 *= f;
  (*c).r2 *= f;
  (*c).r3 *= f;
  (*c).r4 *= f;
  (*c).r5 *= f;
  (*c).r6 *= f;
  (*c).r7 *= f;
}
// Scaled scores of 8 keys with their bias, `at` that of the first key and query: the next query has of the next key what this has of this.
fn add_bias(c: ptr<function, Eight>, at: u32) {
  let b0 = bias[at - 3u];
  let b1 = bias[at - 2u];
  let b2 = bias[at - 1u];
  let b3 = bias[at + 0u];
  let b4 = bias[at + 1u];
  let b5 = bias[at + 2u];
  let b6 = bias[at + 3u];
  let b7 = bias[at + 4u];
  let b8 = bias[at + 5u];
  let b9 = bias[at + 6u];
  let b10 = bias[at + 7u];
  (*c).r0 = (*c).r0 * params.scale + vec4<f32>(b3, b2, b1, b0);
  (*c).r1 = (*c).r1 * params.scale + vec4<f32>(b4, b3, b2, b1);
  (*c).r2 = (*c).r2 * params.scale + vec4<f32>(b5, b4, b3, b2);
  (*c).r3 = (*c).r3 * params.scale + vec4<f32>(b6, b5, b4, b3);
  (*c).r4 = (*c).r4 * params.scale + vec4<f32>(b7, b6, b5, b4);
  (*c).r5 = (*c).r5 * params.scale + vec4<f32>(b8, b7, b6, b5);
  (*c).r6 = (*c).r6 * params.scale + vec4<f32>(b9, b8, b7, b6);
  (*c).r7 = (*c).r7 * params.scale + vec4<f32>(b10, b9, b8, b7);
}
// Scores of 8 keys from products, or with their bias already; keys that do not count get the sentinel.
fn hide(c: ptr<function, Eight>, key: u32, tile: vec4<u32>) {
  let factor = select(params.scale, 1.0, BIAS);
  (*c).r0 = select(vec4<f32>(MASKED), (*c).r0 * factor, key + 0u >= tile.z && key + 0u < tile.w);
  (*c).r1 = select(vec4<f32>(MASKED), (*c).r1 * factor, key + 1u >= tile.z && key + 1u < tile.w);
  (*c).r2 = select(vec4<f32>(MASKED), (*c).r2 * factor, key + 2u >= tile.z && key + 2u < tile.w);
  (*c).r3 = select(vec4<f32>(MASKED), (*c).r3 * factor, key + 3u >= tile.z && key + 3u < tile.w);
  (*c).r4 = select(vec4<f32>(MASKED), (*c).r4 * factor, key + 4u >= tile.z && key + 4u < tile.w);
  (*c).r5 = select(vec4<f32>(MASKED), (*c).r5 * factor, key + 5u >= tile.z && key + 5u < tile.w);
  (*c).r6 = select(vec4<f32>(MASKED), (*c).r6 * factor, key + 6u >= tile.z && key + 6u < tile.w);
  (*c).r7 = select(vec4<f32>(MASKED), (*c).r7 * factor, key + 7u >= tile.z && key + 7u < tile.w);
}
fn top_of(c: ptr<function, Eight>) -> vec4<f32> {
  return max(max(max((*c).r0, (*c).r1), max((*c).r2, (*c).r3)), max(max((*c).r4, (*c).r5), max((*c).r6, (*c).r7)));
}
fn weight(s: vec4<f32>, top: vec4<f32>) -> vec4<f32> {
  return select(vec4<f32>(), exp(max(s - top, vec4<f32>(-80.0))), s > vec4<f32>(0.5 * MASKED));
}
// Weights in place of scores, and their sum.
fn weigh(c: ptr<function, Eight>, top: vec4<f32>) -> vec4<f32> {
  (*c).r0 = weight((*c).r0, top);
  (*c).r1 = weight((*c).r1, top);
  (*c).r2 = weight((*c).r2, top);
  (*c).r3 = weight((*c).r3, top);
  (*c).r4 = weight((*c).r4, top);
  (*c).r5 = weight((*c).r5, top);
  (*c).r6 = weight((*c).r6, top);
  (*c).r7 = weight((*c).r7, top);
  return (((*c).r0 + (*c).r1) + ((*c).r2 + (*c).r3)) + (((*c).r4 + (*c).r5) + ((*c).r6 + (*c).r7));
}
//! part shared/octet_turn.wgsl
// What a lane has of 4 rows, taken off the front of 32 and put back at the end.
fn turn(a: ptr<function, Eight>, b: ptr<function, Eight>, c: ptr<function, Eight>, d: ptr<function, Eight>) -> mat4x4<f32> {
  let m = mat4x4<f32>((*a).r0, (*a).r1, (*a).r2, (*a).r3);
  (*a).r0 = (*a).r4; (*a).r1 = (*a).r5; (*a).r2 = (*a).r6; (*a).r3 = (*a).r7;
  (*a).r4 = (*b).r0; (*a).r5 = (*b).r1; (*a).r6 = (*b).r2; (*a).r7 = (*b).r3;
  (*b).r0 = (*b).r4; (*b).r1 = (*b).r5; (*b).r2 = (*b).r6; (*b).r3 = (*b).r7;
  (*b).r4 = (*c).r0; (*b).r5 = (*c).r1; (*b).r6 = (*c).r2; (*b).r7 = (*c).r3;
  (*c).r0 = (*c).r4; (*c).r1 = (*c).r5; (*c).r2 = (*c).r6; (*c).r3 = (*c).r7;
  (*c).r4 = (*d).r0; (*c).r5 = (*d).r1; (*c).r6 = (*d).r2; (*c).r7 = (*d).r3;
  (*d).r0 = (*d).r4; (*d).r1 = (*d).r5; (*d).r2 = (*d).r6; (*d).r3 = (*d).r7;
  (*d).r4 = m[0]; (*d).r5 = m[1]; (*d).r6 = m[2]; (*d).r7 = m[3];
  return m;
}
//! part ends

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32, @builtin(subgroup_invocation_id) lane: u32,
) {
  //! part shared/attention_tile.wgsl
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles * params.heads) { return; }
  let head = group / params.tiles;
  let tile = tiles[group % params.tiles];
  // A list may have room for more tiles than there are.
  if (tile.y == 0u) { return; }
  // The bias of a key and a query is at this + key − query; it may wrap below zero, and comes back. What is read for a key or query
  // that does not count is not used.
  var bias_base = 0u;
  if (BIAS) {
    bias_base = (params.head_base + head) * (2u * params.longest - 1u) + params.longest - 1u
      + tiles[params.tiles + group % params.tiles].x - tile.z;
  }
  //! part ends
  let d4 = params.d4;
  let first = tile.x + index * 4u;
  let last = tile.x + tile.y - 1u;
  let q_base = head * params.rows_q;
  let k_base = head * params.rows_k;
  let panels = (params.rows_k + 15u) / 16u;
  let q0 = (q_base + min(first + 0u, last)) * d4;
  let q1 = (q_base + min(first + 1u, last)) * d4;
  let q2 = (q_base + min(first + 2u, last)) * d4;
  let q3 = (q_base + min(first + 3u, last)) * d4;
  let end = params.rows_k - 1u;
  let eighth = lane & 7u;
  var m = vec4<f32>(MASKED);
  var l = vec4<f32>();
  //! part shared/octet_sums.wgsl
  var o0: Eight;
  var o1: Eight;
  var o2: Eight;
  var o3: Eight;
  var o4: Eight;
  var o5: Eight;
  var o6: Eight;
  var o7: Eight;
  var o8: Eight;
  var o9: Eight;
  var o10: Eight;
  var o11: Eight;
  var o12: Eight;
  var o13: Eight;
  var o14: Eight;
  var o15: Eight;
  //! part ends
  for (var key = tile.z & 0xfffffffcu; key < tile.w; key += 32u) {
    // The zeros are written out: a variable without them keeps what it had in the round before, on lavapipe.
    var s0 = Eight();
    var s1 = Eight();
    var s2 = Eight();
    var s3 = Eight();
    let k0 = (k_base + min(key + eighth, end)) * d4;
    let k1 = (k_base + min(key + 8u + eighth, end)) * d4;
    let k2 = (k_base + min(key + 16u + eighth, end)) * d4;
    let k3 = (k_base + min(key + 24u + eighth, end)) * d4;
    for (var i = 0u; i < d4; i++) {
      let a0 = vec4<f32>(k[k0 + i]);
      let a1 = vec4<f32>(k[k1 + i]);
      let a2 = vec4<f32>(k[k2 + i]);
      let a3 = vec4<f32>(k[k3 + i]);
      let b = transpose(mat4x4<f32>(vec4<f32>(q[q0 + i]), vec4<f32>(q[q1 + i]), vec4<f32>(q[q2 + i]), vec4<f32>(q[q3 + i])));
      add(&s0, a0, b);
      add(&s1, a1, b);
      add(&s2, a2, b);
      add(&s3, a3, b);
    }
    // Loops that turn the eights, for drivers take a second to compile what is unrolled 4 times; where that cost nothing to run, the
    // count is one that they cannot tell.
    var top = m;
    for (var eight = key; eight < key + 32u; eight += 8u) {
      if (BIAS) { add_bias(&s0, bias_base + eight - first); }
      hide(&s0, eight, tile);
      top = max(top, top_of(&s0));
      let t = s0; s0 = s1; s1 = s2; s2 = s3; s3 = t;
    }
    let alpha = exp(max(m - top, vec4<f32>(-80.0))) * select(vec4<f32>(1.0), vec4<f32>(), m == vec4<f32>(MASKED));
    m = top;
    l *= alpha;
    for (var i = 0u; i < 4u; i++) {
      l += weigh(&s0, top);
      let t = s0; s0 = s1; s1 = s2; s2 = s3; s3 = t;
    }
    scale(&o0, alpha);
    if (D8 > 1u) { scale(&o1, alpha); }
    if (D8 > 2u) { scale(&o2, alpha); }
    if (D8 > 3u) { scale(&o3, alpha); }
    for (var g = 0u; g < 8u; g++) {
      let four = min(key / 4u + g, panels * 4u - 1u);
      let at = (head * panels + four / 4u) * d4 * 16u + (four & 3u);
      let a0 = vec4<f32>(v[at + min(0u + eighth, 4u * d4 - 1u) * 4u]);
      var a1 = a0;
      if (D8 > 1u) { a1 = vec4<f32>(v[at + min(8u + eighth, 4u * d4 - 1u) * 4u]); }
      var a2 = a0;
      if (D8 > 2u) { a2 = vec4<f32>(v[at + min(16u + eighth, 4u * d4 - 1u) * 4u]); }
      var a3 = a0;
      if (D8 > 3u) { a3 = vec4<f32>(v[at + min(24u + eighth, 4u * d4 - 1u) * 4u]); }
      let b = turn(&s0, &s1, &s2, &s3);
      add(&o0, a0, b);
      if (D8 > 1u) { add(&o1, a1, b); }
      if (D8 > 2u) { add(&o2, a2, b); }
      if (D8 > 3u) { add(&o3, a3, b); }
    }
    if (D8 > 4u) {
      scale(&o4, alpha);
      if (D8 > 5u) { scale(&o5, alpha); }
      if (D8 > 6u) { scale(&o6, alpha); }
      if (D8 > 7u) { scale(&o7, alpha); }
      for (var g = 0u; g < 8u; g++) {
        let four = min(key / 4u + g, panels * 4u - 1u);
        let at = (head * panels + four / 4u) * d4 * 16u + (four & 3u);
        let a0 = vec4<f32>(v[at + min(32u + eighth, 4u * d4 - 1u) * 4u]);
        var a1 = a0;
        if (D8 > 5u) { a1 = vec4<f32>(v[at + min(40u + eighth, 4u * d4 - 1u) * 4u]); }
        var a2 = a0;
        if (D8 > 6u) { a2 = vec4<f32>(v[at + min(48u + eighth, 4u * d4 - 1u) * 4u]); }
        var a3 = a0;
        if (D8 > 7u) { a3 = vec4<f32>(v[at + min(56u + eighth, 4u * d4 - 1u) * 4u]); }
        let b = turn(&s0, &s1, &s2, &s3);
        add(&o4, a0, b);
        if (D8 > 5u) { add(&o5, a1, b); }
        if (D8 > 6u) { add(&o6, a2, b); }
        if (D8 > 7u) { add(&o7, a3, b); }
      }
    }
    if (D8 > 8u) {
      scale(&o8, alpha);
      if (D8 > 9u) { scale(&o9, alpha); }
      if (D8 > 10u) { scale(&o10, alpha); }
      if (D8 > 11u) { scale(&o11, alpha); }
      for (var g = 0u; g < 8u; g++) {
        let four = min(key / 4u + g, panels * 4u - 1u);
        let at = (head * panels + four / 4u) * d4 * 16u + (four & 3u);
        let a0 = vec4<f32>(v[at + min(64u + eighth, 4u * d4 - 1u) * 4u]);
        var a1 = a0;
        if (D8 > 9u) { a1 = vec4<f32>(v[at + min(72u + eighth, 4u * d4 - 1u) * 4u]); }
        var a2 = a0;
        if (D8 > 10u) { a2 = vec4<f32>(v[at + min(80u + eighth, 4u * d4 - 1u) * 4u]); }
        var a3 = a0;
        if (D8 > 11u) { a3 = vec4<f32>(v[at + min(88u + eighth, 4u * d4 - 1u) * 4u]); }
        let b = turn(&s0, &s1, &s2, &s3);
        add(&o8, a0, b);
        if (D8 > 9u) { add(&o9, a1, b); }
        if (D8 > 10u) { add(&o10, a2, b); }
        if (D8 > 11u) { add(&o11, a3, b); }
      }
    }
    if (D8 > 12u) {
      scale(&o12, alpha);
      if (D8 > 13u) { scale(&o13, alpha); }
      if (D8 > 14u) { scale(&o14, alpha); }
      if (D8 > 15u) { scale(&o15, alpha); }
      for (var g = 0u; g < 8u; g++) {
        let four = min(key / 4u + g, panels * 4u - 1u);
        let at = (head * panels + four / 4u) * d4 * 16u + (four & 3u);
        let a0 = vec4<f32>(v[at + min(96u + eighth, 4u * d4 - 1u) * 4u]);
        var a1 = a0;
        if (D8 > 13u) { a1 = vec4<f32>(v[at + min(104u + eighth, 4u * d4 - 1u) * 4u]); }
        var a2 = a0;
        if (D8 > 14u) { a2 = vec4<f32>(v[at + min(112u + eighth, 4u * d4 - 1u) * 4u]); }
        var a3 = a0;
        if (D8 > 15u) { a3 = vec4<f32>(v[at + min(120u + eighth, 4u * d4 - 1u) * 4u]); }
        let b = turn(&s0, &s1, &s2, &s3);
        add(&o12, a0, b);
        if (D8 > 13u) { add(&o13, a1, b); }
        if (D8 > 14u) { add(&o14, a2, b); }
        if (D8 > 15u) { add(&o15, a3, b); }
      }
    }
  }

  let width = params.heads_total * d4;
  let out = (params.head_base + head) * d4;
  let inverse = 1.0 / l;
  if (LSE) {
    let logs = m + log(l);
    let at = (params.head_base + head) * params.rows_q + first;
    if (first + 0u <= last) { lse[at + 0u] = logs.x; }
    if (first + 1u <= last) { lse[at + 1u] = logs.y; }
    if (first + 2u <= last) { lse[at + 2u] = logs.z; }
    if (first + 3u <= last) { lse[at + 3u] = logs.w; }
  }
  for (var column = 0u; column < d4; column++) {
    let p = column / 2u;
    var o = o0;
    if (D8 > 1u && p == 1u) { o = o1; }
    if (D8 > 2u && p == 2u) { o = o2; }
    if (D8 > 3u && p == 3u) { o = o3; }
    if (D8 > 4u && p == 4u) { o = o4; }
    if (D8 > 5u && p == 5u) { o = o5; }
    if (D8 > 6u && p == 6u) { o = o6; }
    if (D8 > 7u && p == 7u) { o = o7; }
    if (D8 > 8u && p == 8u) { o = o8; }
    if (D8 > 9u && p == 9u) { o = o9; }
    if (D8 > 10u && p == 10u) { o = o10; }
    if (D8 > 11u && p == 11u) { o = o11; }
    if (D8 > 12u && p == 12u) { o = o12; }
    if (D8 > 13u && p == 13u) { o = o13; }
    if (D8 > 14u && p == 14u) { o = o14; }
    if (D8 > 15u && p == 15u) { o = o15; }
    if ((column & 1u) == 1u) { o.r0 = o.r4; o.r1 = o.r5; o.r2 = o.r6; o.r3 = o.r7; }
    let rows = transpose(mat4x4<f32>(o.r0 * inverse, o.r1 * inverse, o.r2 * inverse, o.r3 * inverse));
    for (var query = first; query < min(first + 4u, last + 1u); query++) {
      var row = rows[0];
      if (query - first == 1u) { row = rows[1]; }
      if (query - first == 2u) { row = rows[2]; }
      if (query - first == 3u) { row = rows[3]; }
      y[(query - params.row_base) * width + out + column] = vec4<Y>(row);
    }
  }
}
