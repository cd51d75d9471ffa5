// unpack_q8.wgsl — ggml's q8_0 blocks of a matrix, as they are stored, into panels of 8-bit values for matmul_dot_i8
//
// Shapes    x: rows of q8_0 blocks, 34 bytes each: f16 scale, i8[32]. y: panels of 16 rows, [ceil(out/16)][inner/32] blocks of 144 words:
//           [8][16], each 4 inputs of a row as bytes, and the f32 scales [16] of its rows. Zeros for the rows that the last panel has more.
// Work      a thread a block of a row; 16 threads have the rows of a panel, so that their words lie side by side
// Dispatch  (ceil(count/64), folded, 1)
// Cost      reads 34 bytes a block, writes 36; bandwidth bound
// Needs     rows of whole blocks (checked in src/plan/unpack-weight.ts)
// Numerics  values and scales stay as they are; SCALED multiplies the scales. With LORA a block becomes 8-bit values again, in f32, with
//           largest / 127 as its scale
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
// Rows are multiplied with `scales`
const SCALED: bool = false;
// `change` is added
const LORA: bool = false;
//! end
// count: blocks of y · first, rows: where x's rows begin in y and how many there are, out: how many y has · blocks: of a row ·
// x_byte: the byte of x's binding that x begins at · y_word: the word of y's binding that y begins at ·
// row: the row of `scales` that x begins at · step: 0 where all rows have one scale · changed: the row of `change` that x begins at
struct Params {
  count: u32, first: u32, rows: u32, out: u32, blocks: u32, x_byte: u32, y_word: u32,
  row: u32, step: u32, changed: u32,
}
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
// [rows] or [1]
@group(0) @binding(3) var<storage, read> scales: array<f32>;
// [rows][inner / 4] (low_rank_product)
@group(0) @binding(4) var<storage, read> change: array<vec4<f32>>;

// f16 bits → f32 bits. Subnormals by a product: a driver may take f32 ones for zero, but here only the source has them.
fn widen(half: vec4<u32>) -> vec4<u32> {
  let magnitude = half & vec4<u32>(0x7fffu);
  let small = bitcast<vec4<u32>>(vec4<f32>(magnitude) * 5.9604644775390625e-8);
  let normal = (magnitude << vec4<u32>(13u)) + select(vec4<u32>(0x38000000u), vec4<u32>(0x70000000u), magnitude >= vec4<u32>(0x7c00u));
  return ((half & vec4<u32>(0x8000u)) << vec4<u32>(16u)) | select(normal, small, magnitude < vec4<u32>(0x400u));
}
//! part shared/block_bytes.wgsl
// 4 bytes of x from an even one on.
fn bytes(at: u32) -> u32 {
  let word = x[at / 4u];
  if ((at & 2u) == 0u) { return word; }
  return (word >> 16u) | (x[at / 4u + 1u] << 16u);
}

// The f16 at an even byte.
fn half_at(at: u32) -> f32 {
  let code = (x[at / 4u] >> (at % 4u * 8u)) & 0xffffu;
  return bitcast<f32>(widen(vec4<u32>(code)).x);
}
//! part ends

fn put(at: u32, words: array<u32, 8>, scale: f32) {
  for (var k = 0u; k < 8u; k++) { y[at + 16u * k] = words[k]; }
  y[at + 128u] = bitcast<u32>(scale);
}

// W and its change, in 8 bits again.
fn changed(at: u32, words: array<u32, 8>, scale: f32, row: u32, block: u32) {
  let first = ((params.changed + row) * params.blocks + block) * 8u;
  var v: array<vec4<f32>, 8>;
  for (var k = 0u; k < 8u; k++) {
    let q = bitcast<vec4<i32>>(vec4<u32>(words[k]) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
    v[k] = scale * vec4<f32>(q) + change[first + k];
  }
  var most = vec4<f32>(0.0);
  for (var k = 0u; k < 8u; k++) { most = max(most, abs(v[k])); }
  let largest = max(max(most.x, most.y), max(most.z, most.w));
  var inverse = 0.0;
  var made = 0.0;
  if (largest > 1e-30) {
    inverse = 127.0 / largest;
    made = largest / 127.0;
  }
  var packed: array<u32, 8>;
  for (var k = 0u; k < 8u; k++) {
    let q = vec4<u32>(vec4<i32>(clamp(round(v[k] * inverse), vec4<f32>(-127.0), vec4<f32>(127.0)))) & vec4<u32>(255u);
    packed[k] = q.x | (q.y << 8u) | (q.z << 16u) | (q.w << 24u);
  }
  put(at, packed, made);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count) { return; }
  let block = i / 16u % params.blocks;
  let panel = i / 16u / params.blocks;
  let out = panel * 16u + i % 16u;
  let row = out - params.first;
  let at = params.y_word + i / 16u * 144u + i % 16u;
  var words: array<u32, 8>;
  if (row >= params.rows) {
    if (out >= params.out) { put(at, words, 0.0); }
    return;
  }
  let source = params.x_byte + (row * params.blocks + block) * 34u;
  var scale = half_at(source);
  if (SCALED) { scale *= scales[(params.row + row) * params.step]; }
  for (var k = 0u; k < 8u; k++) { words[k] = bytes(source + 2u + 4u * k); }
  if (LORA) { changed(at, words, scale, row, block); } else { put(at, words, scale); }
}
