// matmul_tn_octet.wgsl — y = aᵀ · b, the sums over tokens of outer products, for CPU adapters with 8 lanes
//
// Shapes    as in matmul_tn_tiled.wgsl
// Work      as in matmul_octet.wgsl: one subgroup owns 32 columns of a × 4 columns of b a lane. Of 4 tokens a lane loads its vector of b,
//           and one of the 8 vectors of a, which are transposed where they lie, in registers, and handed round: 8 loads of vectors for 512
//           multiply-adds of all lanes, none of which needs another layout of a or b.
// Dispatch  (ceil(Q/(4·WG)) · ceil(P/32) · splits, folded, 1)
// Cost      2·M·P·Q flops; compute bound
// Needs     subgroups of 8 lanes or a multiple, WG lanes · rows of a and b of a multiple of 4 (checked in src/ops/matmul_tn.ts)
// Numerics  f32 accumulation for every storage type, 4 products at a time
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias A = f32;
alias B = f32;
//! end
override WG: u32 = 8;
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

//! part shared/octet_block.wgsl
// Of each of the four columns of a vector, what lane i handed round: a block of 4 × 4 sums.
fn block(c0: ptr<function, Eight>, c1: ptr<function, Eight>, c2: ptr<function, Eight>, c3: ptr<function, Eight>, i: u32) -> mat4x4<f32> {
  switch (i) {
    case 0u: { return mat4x4<f32>((*c0).r0, (*c1).r0, (*c2).r0, (*c3).r0); }
    case 1u: { return mat4x4<f32>((*c0).r1, (*c1).r1, (*c2).r1, (*c3).r1); }
    case 2u: { return mat4x4<f32>((*c0).r2, (*c1).r2, (*c2).r2, (*c3).r2); }
    case 3u: { return mat4x4<f32>((*c0).r3, (*c1).r3, (*c2).r3, (*c3).r3); }
    case 4u: { return mat4x4<f32>((*c0).r4, (*c1).r4, (*c2).r4, (*c3).r4); }
    case 5u: { return mat4x4<f32>((*c0).r5, (*c1).r5, (*c2).r5, (*c3).r5); }
    case 6u: { return mat4x4<f32>((*c0).r6, (*c1).r6, (*c2).r6, (*c3).r6); }
    default: { return mat4x4<f32>((*c0).r7, (*c1).r7, (*c2).r7, (*c3).r7); }
  }
}
//! part ends

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32, @builtin(subgroup_invocation_id) lane: u32,
) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let split = group / params.tiles;
  let tile = group % params.tiles;
  let tiles_p = (params.p + 31u) / 32u;
  let tiles_q = (params.q + 4u * WG - 1u) / (4u * WG);
  // Neighbours go through the operand of shorter rows, which caches hold.
  let by_p = params.p <= params.q;
  let p0 = select(tile / tiles_q, tile % tiles_p, by_p) * 32u;
  // The lane's vectors of columns; past the end the last again, for every lane has some to hand round.
  let vector = select(tile % tiles_q, tile / tiles_p, by_p) * WG + index;
  let at_b = min(params.q_first + vector, params.b4 - 1u);
  let at_a = min(params.p_first + p0 / 4u + (lane & 7u), params.a4 - 1u);
  let last = params.m - 1u;
  let first = split * params.chunk;
  let end = min(first + params.chunk, params.m);
  var c0: Eight;
  var c1: Eight;
  var c2: Eight;
  var c3: Eight;
  for (var t = first; t < end; t += 4u) {
    let t1 = min(t + 1u, last);
    let t2 = min(t + 2u, last);
    let t3 = min(t + 3u, last);
    // All loads first, as in matmul_octet.wgsl.
    let columns = mat4x4<f32>(
      vec4<f32>(a[t * params.a4 + at_a]), vec4<f32>(a[t1 * params.a4 + at_a]),
      vec4<f32>(a[t2 * params.a4 + at_a]), vec4<f32>(a[t3 * params.a4 + at_a]));
    let own = mat4x4<f32>(
      vec4<f32>(b[t * params.b4 + at_b]), vec4<f32>(b[t1 * params.b4 + at_b]),
      vec4<f32>(b[t2 * params.b4 + at_b]), vec4<f32>(b[t3 * params.b4 + at_b]));
    let tokens = transpose(columns);
    // Tokens past the end add nothing.
    let there = vec4<u32>(t, t + 1u, t + 2u, t + 3u) < vec4<u32>(end);
    add(&c0, select(vec4<f32>(), tokens[0], there), own);
    add(&c1, select(vec4<f32>(), tokens[1], there), own);
    add(&c2, select(vec4<f32>(), tokens[2], there), own);
    add(&c3, select(vec4<f32>(), tokens[3], there), own);
  }
  for (var i = 0u; i < 8u; i++) { store(block(&c0, &c1, &c2, &c3, i), p0 + 4u * i, vector * 4u, split); }
}
