// shared/matmul_tn.wgsl — what every kernel of matmul_tn has: params, and where a block of sums lies
//
// Expects   `a` and `b` at bindings 1 and 2

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
