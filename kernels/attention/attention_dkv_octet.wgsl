// attention_dkv_octet.wgsl — the gradients of attention with respect to k and v, for CPU adapters with 8 lanes
//
// Shapes    q [N, Rq, D] · k, v [N, Rk, D] · panels: q and then dy in panels of 16 queries, [N, ceil(Rq/16), D, 16] (transpose_panels.wgsl)
//           dk, dv [N, Rk, D] · tiles: (first key, keys, first run, runs' end) of each workgroup; then runs: (first query, queries' end,
//           0, 0), the queries that read these keys. Keys that no query reads have no runs, and zeros.
// Work      as attention_octet.wgsl: one lane owns 4 keys, a subgroup 32 and 32 queries at a time, in outer products of what broadcasts
//           hand round. Scores = q·kᵀ, weights = exp(score − log-sum-exp), dw = dy·vᵀ; dv += dy, turned round, · weights;
//           ds = weights · (dw − Σ dy·y) in the weights' place; dk += q, turned round, · ds.
// Dispatch  (tiles · heads, folded, 1)
// Cost      8·Rq·Rk·D·N flops; compute bound
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
@group(0) @binding(6) var<storage, read_write> dk: array<vec4<X>>;
@group(0) @binding(7) var<storage, read_write> dv: array<vec4<X>>;
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

fn weight(s: vec4<f32>, logs: f32, real: bool) -> vec4<f32> {
  return select(vec4<f32>(), exp(max(s * params.scale - logs, vec4<f32>(-80.0))), real);
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
  let k0 = (k_base + min(first + 0u, last)) * d4;
  let k1 = (k_base + min(first + 1u, last)) * d4;
  let k2 = (k_base + min(first + 2u, last)) * d4;
  let k3 = (k_base + min(first + 3u, last)) * d4;
  let end = params.rows_q - 1u;
  let fours = (params.rows_q + 15u) / 16u * 4u;
  let head = group / params.tiles * fours * d4 * 4u;
  let of_dy = head + params.heads * fours * d4 * 4u;
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
  var p0: Eight;
  var p1: Eight;
  var p2: Eight;
  var p3: Eight;
  var p4: Eight;
  var p5: Eight;
  var p6: Eight;
  var p7: Eight;
  var p8: Eight;
  var p9: Eight;
  var p10: Eight;
  var p11: Eight;
  var p12: Eight;
  var p13: Eight;
  var p14: Eight;
  var p15: Eight;
  for (var run = tile.z; run < tile.w; run++) {
    let queries = tiles[params.tiles + run];
    for (var query = queries.x & 0xfffffffcu; query < queries.y; query += 32u) {
      let q0 = q_base + min(query + column, end);
      let q1 = q_base + min(query + 8u + column, end);
      let q2 = q_base + min(query + 16u + column, end);
      let q3 = q_base + min(query + 24u + column, end);
      // The zeros are written out: a variable without them keeps what it had in the round before, on lavapipe.
      var s0 = Eight();
      var s1 = Eight();
      var s2 = Eight();
      var s3 = Eight();
      for (var i = 0u; i < d4; i++) {
        let b = transpose(mat4x4<f32>(vec4<f32>(k[k0 + i]), vec4<f32>(k[k1 + i]), vec4<f32>(k[k2 + i]), vec4<f32>(k[k3 + i])));
        add(&s0, vec4<f32>(q[q0 * d4 + i]), b);
        add(&s1, vec4<f32>(q[q1 * d4 + i]), b);
        add(&s2, vec4<f32>(q[q2 * d4 + i]), b);
        add(&s3, vec4<f32>(q[q3 * d4 + i]), b);
      }
      var w0 = Eight();
      var w1 = Eight();
      var w2 = Eight();
      var w3 = Eight();
      for (var i = 0u; i < d4; i++) {
        let b = transpose(mat4x4<f32>(vec4<f32>(v[k0 + i]), vec4<f32>(v[k1 + i]), vec4<f32>(v[k2 + i]), vec4<f32>(v[k3 + i])));
        add(&w0, rows[q0 * (d4 + 1u) + i], b);
        add(&w1, rows[q1 * (d4 + 1u) + i], b);
        add(&w2, rows[q2 * (d4 + 1u) + i], b);
        add(&w3, rows[q3 * (d4 + 1u) + i], b);
      }
      for (var eight = query; eight < query + 32u; eight += 8u) {
        let own = rows[(q_base + min(eight + column, end)) * (d4 + 1u) + d4].xy;
        var t: Eight;
        t.r0 = weight(s0.r0, subgroupBroadcast(own.x, 0u), eight + 0u >= queries.x && eight + 0u < queries.y);
        t.r1 = weight(s0.r1, subgroupBroadcast(own.x, 1u), eight + 1u >= queries.x && eight + 1u < queries.y);
        t.r2 = weight(s0.r2, subgroupBroadcast(own.x, 2u), eight + 2u >= queries.x && eight + 2u < queries.y);
        t.r3 = weight(s0.r3, subgroupBroadcast(own.x, 3u), eight + 3u >= queries.x && eight + 3u < queries.y);
        t.r4 = weight(s0.r4, subgroupBroadcast(own.x, 4u), eight + 4u >= queries.x && eight + 4u < queries.y);
        t.r5 = weight(s0.r5, subgroupBroadcast(own.x, 5u), eight + 5u >= queries.x && eight + 5u < queries.y);
        t.r6 = weight(s0.r6, subgroupBroadcast(own.x, 6u), eight + 6u >= queries.x && eight + 6u < queries.y);
        t.r7 = weight(s0.r7, subgroupBroadcast(own.x, 7u), eight + 7u >= queries.x && eight + 7u < queries.y);
        s0 = s1; s1 = s2; s2 = s3; s3 = t;
        t.r0 *= w0.r0 - subgroupBroadcast(own.y, 0u);
        t.r1 *= w0.r1 - subgroupBroadcast(own.y, 1u);
        t.r2 *= w0.r2 - subgroupBroadcast(own.y, 2u);
        t.r3 *= w0.r3 - subgroupBroadcast(own.y, 3u);
        t.r4 *= w0.r4 - subgroupBroadcast(own.y, 4u);
        t.r5 *= w0.r5 - subgroupBroadcast(own.y, 5u);
        t.r6 *= w0.r6 - subgroupBroadcast(own.y, 6u);
        t.r7 *= w0.r7 - subgroupBroadcast(own.y, 7u);
        w0 = w1; w1 = w2; w2 = w3; w3 = t;
      }
      let four = query / 4u;
      add_columns(&p0, &p1, &p2, &p3, &s0, &s1, &s2, &s3, of_dy, four, fours, column + 0u, 4u * d4, D8);
      if (D8 > 4u) {
        add_columns(&p4, &p5, &p6, &p7, &s0, &s1, &s2, &s3, of_dy, four, fours, column + 32u, 4u * d4, D8 - 4u);
      }
      if (D8 > 8u) {
        add_columns(&p8, &p9, &p10, &p11, &s0, &s1, &s2, &s3, of_dy, four, fours, column + 64u, 4u * d4, D8 - 8u);
      }
      if (D8 > 12u) {
        add_columns(&p12, &p13, &p14, &p15, &s0, &s1, &s2, &s3, of_dy, four, fours, column + 96u, 4u * d4, D8 - 12u);
      }
      add_columns(&o0, &o1, &o2, &o3, &w0, &w1, &w2, &w3, head, four, fours, column + 0u, 4u * d4, D8);
      if (D8 > 4u) {
        add_columns(&o4, &o5, &o6, &o7, &w0, &w1, &w2, &w3, head, four, fours, column + 32u, 4u * d4, D8 - 4u);
      }
      if (D8 > 8u) {
        add_columns(&o8, &o9, &o10, &o11, &w0, &w1, &w2, &w3, head, four, fours, column + 64u, 4u * d4, D8 - 8u);
      }
      if (D8 > 12u) {
        add_columns(&o12, &o13, &o14, &o15, &w0, &w1, &w2, &w3, head, four, fours, column + 96u, 4u * d4, D8 - 12u);
      }
    }
  }

  for (var c = 0u; c < d4; c++) {
    let keys = four_columns(c, &o0, &o1, &o2, &o3, &o4, &o5, &o6, &o7, &o8, &o9, &o10, &o11, &o12, &o13, &o14, &o15);
    let values = four_columns(c, &p0, &p1, &p2, &p3, &p4, &p5, &p6, &p7, &p8, &p9, &p10, &p11, &p12, &p13, &p14, &p15);
    if (first + 0u <= last) {
      dk[k0 + c] = vec4<X>(keys[0] * params.scale);
      dv[k0 + c] = vec4<X>(values[0]);
    }
    if (first + 1u <= last) {
      dk[k1 + c] = vec4<X>(keys[1] * params.scale);
      dv[k1 + c] = vec4<X>(values[1]);
    }
    if (first + 2u <= last) {
      dk[k2 + c] = vec4<X>(keys[2] * params.scale);
      dv[k2 + c] = vec4<X>(values[2]);
    }
    if (first + 3u <= last) {
      dk[k3 + c] = vec4<X>(keys[3] * params.scale);
      dv[k3 + c] = vec4<X>(values[3]);
    }
  }
}
