// attention_quad.wgsl — softmax(scale · q·kᵀ + bias) · v, online, for CPU adapters with 4 lanes
//
// Shapes    q [N, Rq, D] · k [N, Rk, D] · v in panels of 16 keys, [N, ceil(Rk/16), D, 16] (transpose_panels.wgsl)
//           y [Rq, N·D] · tiles: (first query, queries, first key, keys' end) of each workgroup
//           BIAS: bias [N, 2L − 1] by key − query + L − 1, both counted from their segment's first, L the longest segment's length;
//           tiles goes on with as many (segment's first query, 0, 0, 0)
//           LSE: lse [N, Rq], log Σ exp(score) of a query
// Work      one lane owns 4 queries; for a panel of 16 keys it has their scores in 16 named vectors. The lanes of a quad load 4
//           keys each and swap them, as in matmul_quad, and the weights stay where the swaps have put them: v is loaded and
//           swapped alike, so that every lane multiplies its own order of keys. No workgroup memory, no barrier.
// Registers SwiftShader has 16 of 4 floats and keeps every named vector in memory, masked at every write; so 16 products are summed
//           before a sum of y is written, and keys are masked only where a segment begins or ends. D16 = ceil(D/16) chunks of 16
//           sums a query, unrolled: an array that a loop indexes is 20 times slower. 8 queries a lane are no faster and twice the
//           code. A load of 4 floats is some 500 instructions there, for it goes lane by lane: those of k take a fifth of the time.
// Dispatch  (tiles · heads, folded, 1)
// Cost      4·Rq·Rk·D·N flops; compute bound; 16 loads of vectors for 1,024 multiply-adds of v, 8 for 256 of q and k
// Needs     subgroups (of 4 lanes or a multiple) · D % 4 == 0, D ≤ 128 (checked in src/ops/attention.ts)
// Numerics  f32 scores, weights, sums; masked keys by a finite sentinel, their weight 2^-126 of the largest or less
// After     Dao et al. 2022, arXiv:2205.14135; Milakov & Gimelshein 2018, arXiv:1805.02867
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
const D16: u32 = 4u;
//! end
override WG: u32 = 4;
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
const LOG2_E: f32 = 1.4426950408889634;
const LN_2: f32 = 0.6931471805599453;

// Scores or weights of a query: of the 4 keys that its lane loads, and of those of the lanes whose number differs in the lowest
// bit, in the second, in both. Or 16 columns of its sums, in order.
struct Row { own: vec4<f32>, x: vec4<f32>, y: vec4<f32>, xy: vec4<f32> }
struct Rows { r0: Row, r1: Row, r2: Row, r3: Row }
// Vectors of 4 keys, for each of the four.
struct Shared { own: mat4x4<f32>, x: mat4x4<f32>, y: mat4x4<f32>, xy: mat4x4<f32> }

fn share(m: mat4x4<f32>) -> Shared {
  return Shared(
    m,
    mat4x4<f32>(quadSwapX(m[0]), quadSwapX(m[1]), quadSwapX(m[2]), quadSwapX(m[3])),
    mat4x4<f32>(quadSwapY(m[0]), quadSwapY(m[1]), quadSwapY(m[2]), quadSwapY(m[3])),
    mat4x4<f32>(quadSwapDiagonal(m[0]), quadSwapDiagonal(m[1]), quadSwapDiagonal(m[2]), quadSwapDiagonal(m[3])));
}
// One query, 4 of its columns, 16 keys turned round. The matrix stands on the left: SwiftShader copies the left factor of every
// multiplication, and puts it back into memory where it is needed again, which a query's columns are 16 times and the keys' 4 times.
fn score(s: Row, a: vec4<f32>, m: Shared) -> Row {
  return Row(s.own + m.own * a, s.x + m.x * a, s.y + m.y * a, s.xy + m.xy * a);
}
// One query, 16 keys, 4 columns, each in one sum: what lies between would go to memory.
fn value(w: Row, m: Shared) -> vec4<f32> {
  return vec4<f32>(
    ((dot(w.own, m.own[0]) + dot(w.x, m.x[0])) + dot(w.y, m.y[0])) + dot(w.xy, m.xy[0]),
    ((dot(w.own, m.own[1]) + dot(w.x, m.x[1])) + dot(w.y, m.y[1])) + dot(w.xy, m.xy[1]),
    ((dot(w.own, m.own[2]) + dot(w.x, m.x[2])) + dot(w.y, m.y[2])) + dot(w.xy, m.xy[2]),
    ((dot(w.own, m.own[3]) + dot(w.x, m.x[3])) + dot(w.y, m.y[3])) + dot(w.xy, m.xy[3]));
}
// The bias of 4 keys for each of 4 queries, `at` that of the first key and query: the next query has of the next key what this has of this.
fn bias_of(at: u32) -> mat4x4<f32> {
  let before = vec3<f32>(bias[at - 3u], bias[at - 2u], bias[at - 1u]);
  let from_ = vec4<f32>(bias[at], bias[at + 1u], bias[at + 2u], bias[at + 3u]);
  return mat4x4<f32>(from_, vec4<f32>(before.z, from_.xyz), vec4<f32>(before.yz, from_.xy), vec4<f32>(before, from_.x));
}
// Scores with their bias, in powers of two as they are.
fn add_bias(s: ptr<function, Rows>, at: u32, quad: u32) {
  {
    let b = bias_of(at + 4u * quad);
    (*s).r0.own += b[0] * LOG2_E;
    (*s).r1.own += b[1] * LOG2_E;
    (*s).r2.own += b[2] * LOG2_E;
    (*s).r3.own += b[3] * LOG2_E;
  }
  {
    let b = bias_of(at + 4u * (quad ^ 1u));
    (*s).r0.x += b[0] * LOG2_E;
    (*s).r1.x += b[1] * LOG2_E;
    (*s).r2.x += b[2] * LOG2_E;
    (*s).r3.x += b[3] * LOG2_E;
  }
  {
    let b = bias_of(at + 4u * (quad ^ 2u));
    (*s).r0.y += b[0] * LOG2_E;
    (*s).r1.y += b[1] * LOG2_E;
    (*s).r2.y += b[2] * LOG2_E;
    (*s).r3.y += b[3] * LOG2_E;
  }
  {
    let b = bias_of(at + 4u * (quad ^ 3u));
    (*s).r0.xy += b[0] * LOG2_E;
    (*s).r1.xy += b[1] * LOG2_E;
    (*s).r2.xy += b[2] * LOG2_E;
    (*s).r3.xy += b[3] * LOG2_E;
  }
}
// The keys that do not count get the sentinel.
fn hide(s: ptr<function, Rows>, key: u32, quad: u32, tile: vec4<u32>) {
  let n = vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u);
  let from_ = vec4<u32>(tile.z);
  let to = vec4<u32>(tile.w);
  let own = n + vec4<u32>(4u * quad);
  let x = n + vec4<u32>(4u * (quad ^ 1u));
  let y = n + vec4<u32>(4u * (quad ^ 2u));
  let xy = n + vec4<u32>(4u * (quad ^ 3u));
  (*s).r0.own = select(vec4<f32>(MASKED), (*s).r0.own, (own >= from_) & (own < to));
  (*s).r0.x = select(vec4<f32>(MASKED), (*s).r0.x, (x >= from_) & (x < to));
  (*s).r0.y = select(vec4<f32>(MASKED), (*s).r0.y, (y >= from_) & (y < to));
  (*s).r0.xy = select(vec4<f32>(MASKED), (*s).r0.xy, (xy >= from_) & (xy < to));
  (*s).r1.own = select(vec4<f32>(MASKED), (*s).r1.own, (own >= from_) & (own < to));
  (*s).r1.x = select(vec4<f32>(MASKED), (*s).r1.x, (x >= from_) & (x < to));
  (*s).r1.y = select(vec4<f32>(MASKED), (*s).r1.y, (y >= from_) & (y < to));
  (*s).r1.xy = select(vec4<f32>(MASKED), (*s).r1.xy, (xy >= from_) & (xy < to));
  (*s).r2.own = select(vec4<f32>(MASKED), (*s).r2.own, (own >= from_) & (own < to));
  (*s).r2.x = select(vec4<f32>(MASKED), (*s).r2.x, (x >= from_) & (x < to));
  (*s).r2.y = select(vec4<f32>(MASKED), (*s).r2.y, (y >= from_) & (y < to));
  (*s).r2.xy = select(vec4<f32>(MASKED), (*s).r2.xy, (xy >= from_) & (xy < to));
  (*s).r3.own = select(vec4<f32>(MASKED), (*s).r3.own, (own >= from_) & (own < to));
  (*s).r3.x = select(vec4<f32>(MASKED), (*s).r3.x, (x >= from_) & (x < to));
  (*s).r3.y = select(vec4<f32>(MASKED), (*s).r3.y, (y >= from_) & (y < to));
  (*s).r3.xy = select(vec4<f32>(MASKED), (*s).r3.xy, (xy >= from_) & (xy < to));
}
fn top_of(s: Row) -> f32 {
  let t = max(max(s.own, s.x), max(s.y, s.xy));
  return max(max(t.x, t.y), max(t.z, t.w));
}
fn weight(s: vec4<f32>, top: f32) -> vec4<f32> { return exp2(max(s - top, vec4<f32>(-126.0))); }
fn weights(s: Row, top: f32) -> Row { return Row(weight(s.own, top), weight(s.x, top), weight(s.y, top), weight(s.xy, top)); }
fn total(w: Row) -> f32 { return dot((w.own + w.x) + (w.y + w.xy), vec4<f32>(1.0)); }

// Adds 16 keys to 16 columns of every query's sums, brought to the new maxima.
fn add(o: ptr<function, Rows>, w: ptr<function, Rows>, alpha: vec4<f32>, at: u32, columns: u32) {
  {
    let m = share(mat4x4<f32>(
      vec4<f32>(v[at + min(0u, columns) * 4u]), vec4<f32>(v[at + min(1u, columns) * 4u]),
      vec4<f32>(v[at + min(2u, columns) * 4u]), vec4<f32>(v[at + min(3u, columns) * 4u])));
    (*o).r0.own = (*o).r0.own * alpha[0] + value((*w).r0, m);
    (*o).r1.own = (*o).r1.own * alpha[1] + value((*w).r1, m);
    (*o).r2.own = (*o).r2.own * alpha[2] + value((*w).r2, m);
    (*o).r3.own = (*o).r3.own * alpha[3] + value((*w).r3, m);
  }
  {
    let m = share(mat4x4<f32>(
      vec4<f32>(v[at + min(4u, columns) * 4u]), vec4<f32>(v[at + min(5u, columns) * 4u]),
      vec4<f32>(v[at + min(6u, columns) * 4u]), vec4<f32>(v[at + min(7u, columns) * 4u])));
    (*o).r0.x = (*o).r0.x * alpha[0] + value((*w).r0, m);
    (*o).r1.x = (*o).r1.x * alpha[1] + value((*w).r1, m);
    (*o).r2.x = (*o).r2.x * alpha[2] + value((*w).r2, m);
    (*o).r3.x = (*o).r3.x * alpha[3] + value((*w).r3, m);
  }
  {
    let m = share(mat4x4<f32>(
      vec4<f32>(v[at + min(8u, columns) * 4u]), vec4<f32>(v[at + min(9u, columns) * 4u]),
      vec4<f32>(v[at + min(10u, columns) * 4u]), vec4<f32>(v[at + min(11u, columns) * 4u])));
    (*o).r0.y = (*o).r0.y * alpha[0] + value((*w).r0, m);
    (*o).r1.y = (*o).r1.y * alpha[1] + value((*w).r1, m);
    (*o).r2.y = (*o).r2.y * alpha[2] + value((*w).r2, m);
    (*o).r3.y = (*o).r3.y * alpha[3] + value((*w).r3, m);
  }
  {
    let m = share(mat4x4<f32>(
      vec4<f32>(v[at + min(12u, columns) * 4u]), vec4<f32>(v[at + min(13u, columns) * 4u]),
      vec4<f32>(v[at + min(14u, columns) * 4u]), vec4<f32>(v[at + min(15u, columns) * 4u])));
    (*o).r0.xy = (*o).r0.xy * alpha[0] + value((*w).r0, m);
    (*o).r1.xy = (*o).r1.xy * alpha[1] + value((*w).r1, m);
    (*o).r2.xy = (*o).r2.xy * alpha[2] + value((*w).r2, m);
    (*o).r3.xy = (*o).r3.xy * alpha[3] + value((*w).r3, m);
  }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
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
  let first = tile.x + lane * 4u;
  let last = tile.x + tile.y - 1u;
  let quad = lane & 3u;
  let q_base = head * params.rows_q;
  let k_base = head * params.rows_k;
  let panels = (params.rows_k + 15u) / 16u;
  let end = params.rows_k - 1u;
  let q0 = (q_base + min(first + 0u, last)) * d4;
  let q1 = (q_base + min(first + 1u, last)) * d4;
  let q2 = (q_base + min(first + 2u, last)) * d4;
  let q3 = (q_base + min(first + 3u, last)) * d4;
  // Scores in powers of two: so many instructions fewer for an exponential.
  let c = params.scale * LOG2_E;
  var top = vec4<f32>(MASKED);
  var l = vec4<f32>();
  var o0: Rows;
  var o1: Rows;
  var o2: Rows;
  var o3: Rows;
  var o4: Rows;
  var o5: Rows;
  var o6: Rows;
  var o7: Rows;
  for (var key = tile.z & 0xfffffff0u; key < tile.w; key += 16u) {
    var s = Rows();
    let k0 = (k_base + min(key + 4u * quad + 0u, end)) * d4;
    let k1 = (k_base + min(key + 4u * quad + 1u, end)) * d4;
    let k2 = (k_base + min(key + 4u * quad + 2u, end)) * d4;
    let k3 = (k_base + min(key + 4u * quad + 3u, end)) * d4;
    for (var i = 0u; i < d4; i++) {
      let m = share(transpose(mat4x4<f32>(vec4<f32>(k[k0 + i]), vec4<f32>(k[k1 + i]), vec4<f32>(k[k2 + i]), vec4<f32>(k[k3 + i]))));
      // Each load right before its use.
      s.r0 = score(s.r0, vec4<f32>(q[q0 + i]) * c, m);
      s.r1 = score(s.r1, vec4<f32>(q[q1 + i]) * c, m);
      s.r2 = score(s.r2, vec4<f32>(q[q2 + i]) * c, m);
      s.r3 = score(s.r3, vec4<f32>(q[q3 + i]) * c, m);
    }
    if (BIAS) { add_bias(&s, bias_base + key - first, quad); }
    if (key < tile.z || key + 16u > tile.w) { hide(&s, key, quad, tile); }
    // Before the first keys the sums are zero, whatever they are scaled by.
    let higher = max(top, vec4<f32>(top_of(s.r0), top_of(s.r1), top_of(s.r2), top_of(s.r3)));
    let alpha = exp2(max(top - higher, vec4<f32>(-126.0)));
    top = higher;
    s.r0 = weights(s.r0, higher.x);
    s.r1 = weights(s.r1, higher.y);
    s.r2 = weights(s.r2, higher.z);
    s.r3 = weights(s.r3, higher.w);
    l = l * alpha + vec4<f32>(total(s.r0), total(s.r1), total(s.r2), total(s.r3));
    let at = (head * panels + key / 16u) * d4 * 16u + quad;
    let columns = 4u * d4 - 1u;
    add(&o0, &s, alpha, at + 0u, columns - 0u);
    if (D16 > 1u) { add(&o1, &s, alpha, at + 64u, columns - 16u); }
    if (D16 > 2u) { add(&o2, &s, alpha, at + 128u, columns - 32u); }
    if (D16 > 3u) { add(&o3, &s, alpha, at + 192u, columns - 48u); }
    if (D16 > 4u) { add(&o4, &s, alpha, at + 256u, columns - 64u); }
    if (D16 > 5u) { add(&o5, &s, alpha, at + 320u, columns - 80u); }
    if (D16 > 6u) { add(&o6, &s, alpha, at + 384u, columns - 96u); }
    if (D16 > 7u) { add(&o7, &s, alpha, at + 448u, columns - 112u); }
  }

  let width = params.heads_total * d4;
  let out = (params.head_base + head) * d4;
  if (LSE) {
    let logs = (top + log2(l)) * LN_2;
    let at = (params.head_base + head) * params.rows_q + first;
    if (first + 0u <= last) { lse[at + 0u] = logs.x; }
    if (first + 1u <= last) { lse[at + 1u] = logs.y; }
    if (first + 2u <= last) { lse[at + 2u] = logs.z; }
    if (first + 3u <= last) { lse[at + 3u] = logs.w; }
  }
  for (var p = 0u; p < 4u && first + p <= last; p++) {
    let at = (first + p - params.row_base) * width + out;
    if (p == 1u) {
      l.x = l.y; o0.r0 = o0.r1; if (D16 > 1u) { o1.r0 = o1.r1; } if (D16 > 2u) { o2.r0 = o2.r1; }
      if (D16 > 3u) { o3.r0 = o3.r1; } if (D16 > 4u) { o4.r0 = o4.r1; } if (D16 > 5u) { o5.r0 = o5.r1; }
      if (D16 > 6u) { o6.r0 = o6.r1; } if (D16 > 7u) { o7.r0 = o7.r1; }
    }
    if (p == 2u) {
      l.x = l.z; o0.r0 = o0.r2; if (D16 > 1u) { o1.r0 = o1.r2; } if (D16 > 2u) { o2.r0 = o2.r2; }
      if (D16 > 3u) { o3.r0 = o3.r2; } if (D16 > 4u) { o4.r0 = o4.r2; } if (D16 > 5u) { o5.r0 = o5.r2; }
      if (D16 > 6u) { o6.r0 = o6.r2; } if (D16 > 7u) { o7.r0 = o7.r2; }
    }
    if (p == 3u) {
      l.x = l.w; o0.r0 = o0.r3; if (D16 > 1u) { o1.r0 = o1.r3; } if (D16 > 2u) { o2.r0 = o2.r3; }
      if (D16 > 3u) { o3.r0 = o3.r3; } if (D16 > 4u) { o4.r0 = o4.r3; } if (D16 > 5u) { o5.r0 = o5.r3; }
      if (D16 > 6u) { o6.r0 = o6.r3; } if (D16 > 7u) { o7.r0 = o7.r3; }
    }
    for (var c = 0u; c < d4; c++) {
      var row = o0.r0;
      if (D16 > 1u && c >= 4u) { row = o1.r0; }
      if (D16 > 2u && c >= 8u) { row = o2.r0; }
      if (D16 > 3u && c >= 12u) { row = o3.r0; }
      if (D16 > 4u && c >= 16u) { row = o4.r0; }
      if (D16 > 5u && c >= 20u) { row = o5.r0; }
      if (D16 > 6u && c >= 24u) { row = o6.r0; }
      if (D16 > 7u && c >= 28u) { row = o7.r0; }
      var vector = row.own;
      if ((c & 3u) == 1u) { vector = row.x; }
      if ((c & 3u) == 2u) { vector = row.y; }
      if ((c & 3u) == 3u) { vector = row.xy; }
      y[at + c] = vec4<Y>(vector / l.x);
    }
  }
}
