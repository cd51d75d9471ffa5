// attention_dq_octet.wgsl — the gradient of attention with respect to q, for CPU adapters with 8 lanes
//
// Shapes    q [N, Rq, D] · k, v [N, Rk, D] · panels: k in panels of 16 keys, [N, ceil(Rk/16), D, 16] (transpose_panels.wgsl)
//           dq [N, Rq, D] · tiles: (first query, queries, first key, keys' end) of each workgroup; queries of none have no keys, and zeros
// Work      as attention_octet.wgsl: one lane owns 4 queries, a subgroup 32 and 32 keys at a time, in outer products of what broadcasts
//           hand round. dw = v·dyᵀ and scores = k·qᵀ, weights = exp(score − log-sum-exp), ds = weights · (dw − Σ dy·y);
//           then sums += k, turned round, · ds.
// Dispatch  (tiles · heads, folded, 1)
// Cost      6·Rq·Rk·D·N flops; compute bound
// Needs     subgroups of 8 lanes or a multiple, WG lanes · D % 4 == 0, D ≤ 128 (checked in src/ops/attention_gradient.ts)
// Numerics  f32 scores, weights, sums. Scores are sums of the same products in the same order as in attention_octet.wgsl.
// After     Dao et al. 2022, arXiv:2205.14135
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const D8: u32 = 8u;
//! end
override WG: u32 = 8;
//! part shared/attention_gradient.wgsl
//! specialise
alias X = f32;
//! end
// d4: vectors of a row of a head · rows_q, rows_k: of a head · heads: bound ones · tiles: of the list
struct Params { d4: u32, rows_q: u32, rows_k: u32, heads: u32, tiles: u32, scale: f32 }
@group(0) @binding(1) var<storage, read> q: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<X>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<X>>;
// dy by head, a row of it (log-sum-exp, dy·y, 0, 0) after its d4 vectors (attention_rows.wgsl)
@group(0) @binding(4) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> tiles: array<vec4<u32>>;
//! part ends
@group(0) @binding(6) var<storage, read_write> dq: array<vec4<X>>;
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
//! part shared/attention_gradient_octet.wgsl
// [part, N, ceil(R/16), D, 16] (transpose_panels.wgsl)
@group(0) @binding(8) var<storage, read> panels: array<vec4<f32>>;

// Adds 32 rows to up to 32 columns of a lane's sums: `at` the panels' first vector of the head, `four` the first rows in fours, of
// `fours`; `column` the first column, of `columns`; `eights` of columns there are.
fn add_columns(
  o0: ptr<function, Eight>, o1: ptr<function, Eight>, o2: ptr<function, Eight>, o3: ptr<function, Eight>,
  s0: ptr<function, Eight>, s1: ptr<function, Eight>, s2: ptr<function, Eight>, s3: ptr<function, Eight>,
  at: u32, four: u32, fours: u32, column: u32, columns: u32, eights: u32,
) {
  for (var g = 0u; g < 8u; g++) {
    let here = min(four + g, fours - 1u);
    let base = at + here / 4u * columns * 4u + (here & 3u);
    let a0 = panels[base + min(column, columns - 1u) * 4u];
    var a1 = a0;
    if (eights > 1u) { a1 = panels[base + min(column + 8u, columns - 1u) * 4u]; }
    var a2 = a0;
    if (eights > 2u) { a2 = panels[base + min(column + 16u, columns - 1u) * 4u]; }
    var a3 = a0;
    if (eights > 3u) { a3 = panels[base + min(column + 24u, columns - 1u) * 4u]; }
    let b = turn(s0, s1, s2, s3);
    add(o0, a0, b);
    if (eights > 1u) { add(o1, a1, b); }
    if (eights > 2u) { add(o2, a2, b); }
    if (eights > 3u) { add(o3, a3, b); }
  }
}

// 4 columns of a lane's 4 rows, a row each.
fn four_columns(
  column: u32,
  o0: ptr<function, Eight>, o1: ptr<function, Eight>, o2: ptr<function, Eight>, o3: ptr<function, Eight>,
  o4: ptr<function, Eight>, o5: ptr<function, Eight>, o6: ptr<function, Eight>, o7: ptr<function, Eight>,
  o8: ptr<function, Eight>, o9: ptr<function, Eight>, o10: ptr<function, Eight>, o11: ptr<function, Eight>,
  o12: ptr<function, Eight>, o13: ptr<function, Eight>, o14: ptr<function, Eight>, o15: ptr<function, Eight>,
) -> mat4x4<f32> {
  var o = *o0;
  switch column / 2u {
    case 1u: { if (D8 > 1u) { o = *o1; } }
    case 2u: { if (D8 > 2u) { o = *o2; } }
    case 3u: { if (D8 > 3u) { o = *o3; } }
    case 4u: { if (D8 > 4u) { o = *o4; } }
    case 5u: { if (D8 > 5u) { o = *o5; } }
    case 6u: { if (D8 > 6u) { o = *o6; } }
    case 7u: { if (D8 > 7u) { o = *o7; } }
    case 8u: { if (D8 > 8u) { o = *o8; } }
    case 9u: { if (D8 > 9u) { o = *o9; } }
    case 10u: { if (D8 > 10u) { o = *o10; } }
    case 11u: { if (D8 > 11u) { o = *o11; } }
    case 12u: { if (D8 > 12u) { o = *o12; } }
    case 13u: { if (D8 > 13u) { o = *o13; } }
    case 14u: { if (D8 > 14u) { o = *o14; } }
    case 15u: { if (D8 > 15u) { o = *o15; } }
    default: {}
  }
  if ((column & 1u) == 1u) { return transpose(mat4x4<f32>(o.r4, o.r5, o.r6, o.r7)); }
  return transpose(mat4x4<f32>(o.r0, o.r1, o.r2, o.r3));
}
//! part ends

// A key's part of the gradient of a lane's scores, from scores and dw.
fn change(s: vec4<f32>, dw: vec4<f32>, logs: vec4<f32>, sums: vec4<f32>, key: u32, tile: vec4<u32>) -> vec4<f32> {
  let weight = exp(max(s * params.scale - logs, vec4<f32>(-80.0)));
  return select(vec4<f32>(), weight * (dw - sums), key >= tile.z && key < tile.w);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32, @builtin(subgroup_invocation_id) lane: u32,
) {
  //! part shared/attention_gradient_place.wgsl
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles * params.heads) { return; }
  let tile = tiles[group % params.tiles];
  // A list may have room for more tiles than there are.
  if (tile.y == 0u) { return; }
  let last = tile.x + tile.y - 1u;
  let q_base = group / params.tiles * params.rows_q;
  let k_base = group / params.tiles * params.rows_k;
  //! part ends
  let d4 = params.d4;
  let first = tile.x + index * 4u;
  let q0 = q_base + min(first + 0u, last);
  let q1 = q_base + min(first + 1u, last);
  let q2 = q_base + min(first + 2u, last);
  let q3 = q_base + min(first + 3u, last);
  let stored = transpose(mat4x4<f32>(
    rows[q0 * (d4 + 1u) + d4], rows[q1 * (d4 + 1u) + d4], rows[q2 * (d4 + 1u) + d4], rows[q3 * (d4 + 1u) + d4]));
  let end = params.rows_k - 1u;
  let fours = (params.rows_k + 15u) / 16u * 4u;
  let head = group / params.tiles * fours * d4 * 4u;
  let column = lane & 7u;
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
    let k0 = (k_base + min(key + column, end)) * d4;
    let k1 = (k_base + min(key + 8u + column, end)) * d4;
    let k2 = (k_base + min(key + 16u + column, end)) * d4;
    let k3 = (k_base + min(key + 24u + column, end)) * d4;
    // The zeros are written out: a variable without them keeps what it had in the round before, on lavapipe.
    var w0 = Eight();
    var w1 = Eight();
    var w2 = Eight();
    var w3 = Eight();
    for (var i = 0u; i < d4; i++) {
      let b = transpose(mat4x4<f32>(
        rows[q0 * (d4 + 1u) + i], rows[q1 * (d4 + 1u) + i], rows[q2 * (d4 + 1u) + i], rows[q3 * (d4 + 1u) + i]));
      add(&w0, vec4<f32>(v[k0 + i]), b);
      add(&w1, vec4<f32>(v[k1 + i]), b);
      add(&w2, vec4<f32>(v[k2 + i]), b);
      add(&w3, vec4<f32>(v[k3 + i]), b);
    }
    var s0 = Eight();
    var s1 = Eight();
    var s2 = Eight();
    var s3 = Eight();
    for (var i = 0u; i < d4; i++) {
      let b = transpose(mat4x4<f32>(
        vec4<f32>(q[q0 * d4 + i]), vec4<f32>(q[q1 * d4 + i]), vec4<f32>(q[q2 * d4 + i]), vec4<f32>(q[q3 * d4 + i])));
      add(&s0, vec4<f32>(k[k0 + i]), b);
      add(&s1, vec4<f32>(k[k1 + i]), b);
      add(&s2, vec4<f32>(k[k2 + i]), b);
      add(&s3, vec4<f32>(k[k3 + i]), b);
    }
    for (var eight = key; eight < key + 32u; eight += 8u) {
      var t: Eight;
      t.r0 = change(s0.r0, w0.r0, stored[0], stored[1], eight + 0u, tile);
      t.r1 = change(s0.r1, w0.r1, stored[0], stored[1], eight + 1u, tile);
      t.r2 = change(s0.r2, w0.r2, stored[0], stored[1], eight + 2u, tile);
      t.r3 = change(s0.r3, w0.r3, stored[0], stored[1], eight + 3u, tile);
      t.r4 = change(s0.r4, w0.r4, stored[0], stored[1], eight + 4u, tile);
      t.r5 = change(s0.r5, w0.r5, stored[0], stored[1], eight + 5u, tile);
      t.r6 = change(s0.r6, w0.r6, stored[0], stored[1], eight + 6u, tile);
      t.r7 = change(s0.r7, w0.r7, stored[0], stored[1], eight + 7u, tile);
      s0 = s1; s1 = s2; s2 = s3; s3 = t;
      w0 = w1; w1 = w2; w2 = w3;
    }
    let four = key / 4u;
    add_columns(&o0, &o1, &o2, &o3, &s0, &s1, &s2, &s3, head, four, fours, column + 0u, 4u * d4, D8);
    if (D8 > 4u) {
      add_columns(&o4, &o5, &o6, &o7, &s0, &s1, &s2, &s3, head, four, fours, column + 32u, 4u * d4, D8 - 4u);
    }
    if (D8 > 8u) {
      add_columns(&o8, &o9, &o10, &o11, &s0, &s1, &s2, &s3, head, four, fours, column + 64u, 4u * d4, D8 - 8u);
    }
    if (D8 > 12u) {
      add_columns(&o12, &o13, &o14, &o15, &s0, &s1, &s2, &s3, head, four, fours, column + 96u, 4u * d4, D8 - 12u);
    }
  }

  for (var c = 0u; c < d4; c++) {
    let sums = four_columns(c, &o0, &o1, &o2, &o3, &o4, &o5, &o6, &o7, &o8, &o9, &o10, &o11, &o12, &o13, &o14, &o15);
    if (first + 0u <= last) { dq[q0 * d4 + c] = vec4<X>(sums[0] * params.scale); }
    if (first + 1u <= last) { dq[q1 * d4 + c] = vec4<X>(sums[1] * params.scale); }
    if (first + 2u <= last) { dq[q2 * d4 + c] = vec4<X>(sums[2] * params.scale); }
    if (first + 3u <= last) { dq[q3 * d4 + c] = vec4<X>(sums[3] * params.scale); }
  }
}
