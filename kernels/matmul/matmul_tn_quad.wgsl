// matmul_tn_quad.wgsl — y = aᵀ · b, the sums over tokens of outer products, for CPU adapters with 4 lanes
//
// Shapes    as in matmul_tn_tiled.wgsl
// Work      as in matmul_quad.wgsl: one lane owns 8 columns of a × 16 columns of b, of which the four lanes of a quad load 4 each and swap
//           them. Both are transposed in registers, 4 tokens of 4 columns at a time; 24 loads of vectors for 1,024 multiply-adds.
// Dispatch  (ceil(Q/16) · ceil(P/(8·WG)) · splits, folded, 1)
// Cost      2·M·P·Q flops; compute bound
// Needs     subgroups (of 4 lanes or a multiple) · rows of a and b of a multiple of 4 (checked in src/ops/matmul_tn.ts)
// Numerics  f32 accumulation for every storage type, 8 products at a time
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias A = f32;
alias B = f32;
//! end
override WG: u32 = 4;
@group(0) @binding(1) var<storage, read> a: array<vec4<A>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<B>>;
//! part shared/matmul_tn.wgsl
// m: tokens bound · chunk: those of a split · a4, b4: vectors of a row of a and of b · p, q: columns of them, from the vectors p_first and
// q_first on · tiles: of one split · groups: workgroups, tiles of all splits · part4: vectors that a split writes · stride4: of a row of y
struct Params {
  m: u32, chunk: u32, a4: u32, b4: u32, p: u32, q: u32, p_first: u32, q_first: u32, tiles: u32, groups: u32, part4: u32, stride4: u32,
}
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
//! specialise
// y is [q, p] in place of [p, q].
const TRANSPOSED: bool = false;
// y holds the sums over tokens of the dispatches before.
const ACCUMULATE: bool = false;
//! end

fn put(row: u32, column4: u32, split: u32, v: vec4<f32>) {
  let at = split * params.part4 + row * params.stride4 + column4;
  if (ACCUMULATE) { y[at] += v; } else { y[at] = v; }
}

// Sums of 4 columns of b, from q on, for each of 4 columns of a, from p on. Rows of y are what they are, columns whole vectors.
fn store(block: mat4x4<f32>, p: u32, q: u32, split: u32) {
  if (p >= params.p || q >= params.q) { return; }
  if (TRANSPOSED) {
    let turned = transpose(block);
    put(q, p / 4u, split, turned[0]);
    if (q + 1u < params.q) { put(q + 1u, p / 4u, split, turned[1]); }
    if (q + 2u < params.q) { put(q + 2u, p / 4u, split, turned[2]); }
    if (q + 3u < params.q) { put(q + 3u, p / 4u, split, turned[3]); }
  } else {
    put(p, q / 4u, split, block[0]);
    if (p + 1u < params.p) { put(p + 1u, q / 4u, split, block[1]); }
    if (p + 2u < params.p) { put(p + 2u, q / 4u, split, block[2]); }
    if (p + 3u < params.p) { put(p + 3u, q / 4u, split, block[3]); }
  }
}
//! part ends
//! part shared/quad.wgsl
// A row of the tile: the lane's own columns, and those that it got by the swaps.
struct Row { own: vec4<f32>, x: vec4<f32>, y: vec4<f32>, xy: vec4<f32> }
// Weights of 4 inputs × 4 columns, for each of the four.
struct Weights { own: mat4x4<f32>, x: mat4x4<f32>, y: mat4x4<f32>, xy: mat4x4<f32> }

// m: of each of the lane's columns, 4 inputs.
fn swapped(m: mat4x4<f32>) -> Weights {
  return Weights(
    m,
    mat4x4<f32>(quadSwapX(m[0]), quadSwapX(m[1]), quadSwapX(m[2]), quadSwapX(m[3])),
    mat4x4<f32>(quadSwapY(m[0]), quadSwapY(m[1]), quadSwapY(m[2]), quadSwapY(m[3])),
    mat4x4<f32>(quadSwapDiagonal(m[0]), quadSwapDiagonal(m[1]), quadSwapDiagonal(m[2]), quadSwapDiagonal(m[3])));
}

// Adds 8 inputs of one row.
fn add(c: ptr<function, Row>, a: vec4<f32>, m: Weights, b: vec4<f32>, n: Weights) {
  (*c).own += a * m.own + b * n.own;
  (*c).x += a * m.x + b * n.x;
  (*c).y += a * m.y + b * n.y;
  (*c).xy += a * m.xy + b * n.xy;
}
//! part ends

// Of each of a vector's four columns, 4 tokens from t on; those past the end are zeros.
fn columns_of_a(t: u32, end: u32, at: u32) -> mat4x4<f32> {
  let last = params.m - 1u;
  let m = transpose(mat4x4<f32>(
    vec4<f32>(a[min(t, last) * params.a4 + at]), vec4<f32>(a[min(t + 1u, last) * params.a4 + at]),
    vec4<f32>(a[min(t + 2u, last) * params.a4 + at]), vec4<f32>(a[min(t + 3u, last) * params.a4 + at])));
  let there = vec4<u32>(t, t + 1u, t + 2u, t + 3u) < vec4<u32>(end);
  return mat4x4<f32>(
    select(vec4<f32>(), m[0], there), select(vec4<f32>(), m[1], there), select(vec4<f32>(), m[2], there), select(vec4<f32>(), m[3], there));
}
fn columns_of_b(t: u32, at: u32) -> Weights {
  let last = params.m - 1u;
  return swapped(transpose(mat4x4<f32>(
    vec4<f32>(b[min(t, last) * params.b4 + at]), vec4<f32>(b[min(t + 1u, last) * params.b4 + at]),
    vec4<f32>(b[min(t + 2u, last) * params.b4 + at]), vec4<f32>(b[min(t + 3u, last) * params.b4 + at]))));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let split = group / params.tiles;
  let tile = group % params.tiles;
  let tiles_p = (params.p + 8u * WG - 1u) / (8u * WG);
  let tiles_q = (params.q + 15u) / 16u;
  // Neighbours go through the operand of shorter rows, which caches hold.
  let by_p = params.p <= params.q;
  let p0 = (select(tile / tiles_q, tile % tiles_p, by_p) * WG + lane) * 8u;
  let q4 = select(tile % tiles_q, tile / tiles_p, by_p) * 4u;
  // Vectors past the end are the last again.
  let at_b = min(params.q_first + q4 + (lane & 3u), params.b4 - 1u);
  let at_a = min(params.p_first + p0 / 4u, params.a4 - 1u);
  let after_a = min(params.p_first + p0 / 4u + 1u, params.a4 - 1u);
  let first = split * params.chunk;
  let end = min(first + params.chunk, params.m);
  var c0: Row;
  var c1: Row;
  var c2: Row;
  var c3: Row;
  var c4: Row;
  var c5: Row;
  var c6: Row;
  var c7: Row;
  for (var t = first; t < end; t += 8u) {
    let m = columns_of_b(t, at_b);
    let n = columns_of_b(t + 4u, at_b);
    let m0 = columns_of_a(t, end, at_a);
    let n0 = columns_of_a(t + 4u, end, at_a);
    add(&c0, m0[0], m, n0[0], n);
    add(&c1, m0[1], m, n0[1], n);
    add(&c2, m0[2], m, n0[2], n);
    add(&c3, m0[3], m, n0[3], n);
    let m1 = columns_of_a(t, end, after_a);
    let n1 = columns_of_a(t + 4u, end, after_a);
    add(&c4, m1[0], m, n1[0], n);
    add(&c5, m1[1], m, n1[1], n);
    add(&c6, m1[2], m, n1[2], n);
    add(&c7, m1[3], m, n1[3], n);
  }
  for (var half = 0u; half < 2u; half++) {
    if (half == 1u) { c0 = c4; c1 = c5; c2 = c6; c3 = c7; }
    for (var i = 0u; i < 4u; i++) {
      var sums = mat4x4<f32>(c0.own, c1.own, c2.own, c3.own);
      if (i == 1u) { sums = mat4x4<f32>(c0.x, c1.x, c2.x, c3.x); }
      if (i == 2u) { sums = mat4x4<f32>(c0.y, c1.y, c2.y, c3.y); }
      if (i == 3u) { sums = mat4x4<f32>(c0.xy, c1.xy, c2.xy, c3.xy); }
      store(sums, p0 + 4u * half, (q4 + ((lane & 3u) ^ i)) * 4u, split);
    }
  }
}
