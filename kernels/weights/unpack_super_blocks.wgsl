// unpack_super_blocks.wgsl — a weight in ggml's blocks of 256 (q4_k, q5_k, q6_k) → the layout and type in which kernels read it
//
// Shapes    x [rows][blocks of inner · taps values], from an even byte of its binding on · y as of unpack_plain
// Work      as unpack_plain; four values of a block, which have the same scale, are read at once
// Dispatch  (ceil(count / (64 · ITEMS)), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound. LORA: reads a change too
// Needs     rows of whole blocks (checked in src/plan/unpack-weight.ts)
// Numerics  q4_k, q5_k: f32 has d · scale · q and dmin · min, and their difference is rounded once. q6_k: f32 has d · scale, and its
//           product with q is rounded once. f16 is the nearest to that, ties to even. Changes are added in f32, before that
// After     ggml of llama.cpp; src/graph/stored.ts says how a block lies
//! specialise
// 0 q4_k, 1 q5_k, 2 q6_k
const FORMAT: u32 = 0u;
//! end
const RAW = false;

//! part shared/float16_loss.wgsl
//! specialise
// What f16 would lose is counted
const LOSS: bool = false;
//! end
// What was too large, too small, and not finite; then 30 sums of (error², value²), both times 2^64
@group(0) @binding(6) var<storage, read_write> loss: array<atomic<u32>>;

var<workgroup> sh_sums: array<vec2<f32>, 64>;
// Too large or not finite, not finite, too small
var<private> large: vec4<u32>;
var<private> broken: vec4<u32>;
var<private> lost: vec4<u32>;
var<private> errors: vec4<f32>;
var<private> squares: vec4<f32>;

// f16 bits → f32 bits. Subnormals by a product: a driver may take f32 ones for zero, but here only the source has them.
fn widen(half: vec4<u32>) -> vec4<u32> {
  let magnitude = half & vec4<u32>(0x7fffu);
  let small = bitcast<vec4<u32>>(vec4<f32>(magnitude) * 5.9604644775390625e-8);
  let normal = (magnitude << vec4<u32>(13u)) + select(vec4<u32>(0x38000000u), vec4<u32>(0x70000000u), magnitude >= vec4<u32>(0x7c00u));
  return ((half & vec4<u32>(0x8000u)) << vec4<u32>(16u)) | select(normal, small, magnitude < vec4<u32>(0x400u));
}

// Magnitudes are signed: CPUs compare and convert no other numbers at once.
fn magnitude_of(v: vec4<u32>) -> vec4<i32> { return bitcast<vec4<i32>>(v & vec4<u32>(0x7fffffffu)); }

// A magnitude as f32 bits; of what f16 takes for infinity, those of 65536.
fn bounded(magnitude: vec4<i32>) -> vec4<i32> {
  return select(vec4<i32>(0x47800000), magnitude, magnitude < vec4<i32>(0x477ff000)); // 65520
}

// A power of two whose last digit is that of the f16 next to a number, times 4: adding four times the number rounds it (Dekker 1971).
fn rounder(bound: vec4<i32>) -> vec4<i32> { return max(bound & vec4<i32>(0x7f800000), vec4<i32>(0x38800000)) + vec4<i32>(0x07800000); }
fn rounded(bound: vec4<i32>) -> vec4<i32> {
  return bitcast<vec4<i32>>(bitcast<vec4<f32>>(rounder(bound)) + bitcast<vec4<f32>>(bound) * 4.0);
}

// f32 bits → the nearest f16's, ties to even; of a NaN the upper bits (src/base/half.ts).
fn narrow(v: vec4<u32>) -> vec4<u32> {
  let magnitude = magnitude_of(v);
  let sum = bitcast<vec4<u32>>(rounded(bounded(magnitude)));
  let half = ((sum >> vec4<u32>(13u)) & vec4<u32>(0x7c00u)) + (sum & vec4<u32>(0xfffu));
  let nan = vec4<u32>(0x7e00u) | ((v >> vec4<u32>(13u)) & vec4<u32>(0x3ffu));
  return ((v >> vec4<u32>(16u)) & vec4<u32>(0x8000u)) | select(half, nan, magnitude > vec4<i32>(0x7f800000));
}

// Counts what f16 loses of values. Squares are of values times 2^32: those of the smallest that matter would be zero. What was rounded is a
// number of last digits of the power of two; a difference of floats a compiler might simplify.
fn count_loss(v: vec4<u32>) {
  let magnitude = magnitude_of(v);
  let bound = bounded(magnitude);
  let digits = rounded(bound) - rounder(bound);
  let value = bitcast<vec4<f32>>(bound) * 4294967296.0;
  let error = vec4<f32>(digits) * bitcast<vec4<f32>>(rounder(bound) + vec4<i32>(0x03800000)) - value;
  let outside = magnitude >= vec4<i32>(0x477ff000);
  errors += error * error;
  squares += select(value * value, vec4<f32>(0.0), outside);
  large += vec4<u32>(outside);
  broken += vec4<u32>(magnitude >= vec4<i32>(0x7f800000));
  lost += vec4<u32>((digits == vec4<i32>(0)) & (magnitude != vec4<i32>(0)));
}

fn add(at: u32, value: f32) {
  var old = atomicLoad(&loss[at]);
  loop {
    let tried = atomicCompareExchangeWeak(&loss[at], old, bitcast<u32>(bitcast<f32>(old) + value));
    if (tried.exchanged) { break; }
    old = tried.old_value;
  }
}

// Adds a workgroup's counts to the weight's.
fn report_loss(group: u32, lane: u32) {
  let ones = vec4<u32>(1u);
  let none = dot(broken, ones);
  let overflow = dot(large, ones) - none;
  let underflow = dot(lost, ones);
  if (overflow > 0u) { atomicAdd(&loss[0], overflow); }
  if (underflow > 0u) { atomicAdd(&loss[1], underflow); }
  if (none > 0u) { atomicAdd(&loss[2], none); }
  // Eight sums of eight, then one of them: few barriers, which CPU adapters take long for.
  sh_sums[lane] = vec2<f32>(dot(errors, vec4<f32>(1.0)), dot(squares, vec4<f32>(1.0)));
  workgroupBarrier();
  var sum = vec2<f32>(0.0);
  if (lane < 8u) { for (var k = lane; k < 64u; k += 8u) { sum += sh_sums[k]; } }
  workgroupBarrier();
  sh_sums[lane] = sum;
  workgroupBarrier();
  if (lane > 0u) { return; }
  for (var k = 1u; k < 8u; k++) { sum += sh_sums[k]; }
  if (sum.y > 0.0) {
    add(4u + group % 30u * 2u, sum.x);
    add(5u + group % 30u * 2u, sum.y);
  }
}
//! part ends

//! part shared/unpack.wgsl
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
// How y lies: 0 panels, 1 rows, 2 end to end
const LAYOUT: u32 = 0u;
// y is f16
const HALF: bool = false;
// Rows have more than one tap
const TAPS: bool = false;
// Rows are multiplied with `scales`
const SCALED: bool = false;
// `change` is added
const LORA: bool = false;
// Quads, or 4 x 4 values of panels, of a thread
const ITEMS: u32 = 1u;
//! end
// count: items of y · first, rows: where x begins in y and how many there are, out: how many y has; all three in rows, or values where
// LAYOUT is 2 · inner, taps: of a row · padded: inputs of a row of y · x_byte: the byte of x's binding that x begins at ·
// y_quad: the quad of y's binding that y begins at · row: the row of `scales` that x begins at · step: 0 where all rows have one scale ·
// changed: the row of `change` that x begins at
struct Params {
  count: u32, first: u32, rows: u32, out: u32, inner: u32, taps: u32, padded: u32, x_byte: u32, y_quad: u32,
  row: u32, step: u32, changed: u32,
}
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<u32>>;
// [rows] or [1]
@group(0) @binding(3) var<storage, read> scales: array<f32>;
// [rows][taps][inner / 4] (low_rank_product)
@group(0) @binding(4) var<storage, read> change: array<vec4<f32>>;

const NEXT = vec4<u32>(0u, 1u, 2u, 3u);

// The value at e, in a vector.
fn one(e: u32) -> u32 { return quad(e & ~3u)[e & 3u]; }

// 4 inputs of a row of x, from one that is a multiple of 4 on; zeros past the row's end.
fn values(row: u32, inner: u32, tap: u32) -> vec4<u32> {
  let inside = inner + NEXT < vec4<u32>(params.inner);
  let e = select(row * params.inner + inner, (row * params.inner + inner) * params.taps + tap, TAPS);
  var v: vec4<u32>;
  if (!TAPS) {
    v = quad(e);
  } else {
    for (var k = 0u; k < min(4u, params.inner - inner); k++) { v[k] = one(e + k * params.taps); }
  }
  v = select(vec4<u32>(0u), v, inside);
  return scaled(v, row);
}

fn scaled(v: vec4<u32>, row: u32) -> vec4<u32> {
  if (!SCALED) { return v; }
  let product = bitcast<vec4<u32>>(bitcast<vec4<f32>>(v) * scales[(params.row + row) * params.step]);
  return select(product, v, (v & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u)); // a NaN stays one
}

// W and its change for one row.
fn changed(v: vec4<u32>, row: u32, inner: u32, tap: u32) -> vec4<u32> {
  let width = (params.inner + 3u) / 4u;
  let sum = bitcast<vec4<f32>>(v) + change[((params.changed + row) * params.taps + tap) * width + inner / 4u];
  return select(vec4<u32>(0u), bitcast<vec4<u32>>(sum), inner + NEXT < vec4<u32>(params.inner));
}

// 4 values of y; where `keep`, what lies there.
fn put(at: u32, v: vec4<u32>, keep: vec4<bool>) {
  let place = params.y_quad + at;
  if (HALF) {
    var half = v;
    if (!RAW) { half = narrow(v); }
    if (any(keep)) {
      let old = y[place];
      half = select(half, vec4<u32>(old.x & 0xffffu, old.x >> 16u, old.y & 0xffffu, old.y >> 16u), keep);
    }
    y[place] = vec2<u32>(half.x | (half.y << 16u), half.z | (half.w << 16u));
  } else {
    var word = v;
    if (any(keep)) { word = select(word, vec4<u32>(y[2u * place], y[2u * place + 1u]), keep); }
    y[2u * place] = word.xy;
    y[2u * place + 1u] = word.zw;
  }
}

// 4 outputs of 4 inputs of a panel. Four threads have 16 outputs, the next ones the next inputs: what a wave writes is one piece.
fn panel(i: u32) {
  let inner = i / 4u % (params.padded / 4u) * 4u;
  let rest = i / params.padded;
  let tap = rest % params.taps;
  let out = rest / params.taps * 16u + i % 4u * 4u;
  let row = out - params.first;
  let mine = row + NEXT < vec4<u32>(params.rows);
  let keep = !mine & (out + NEXT < vec4<u32>(params.out));
  if (all(keep)) { return; }
  var a: vec4<u32>;
  var b: vec4<u32>;
  var c: vec4<u32>;
  var d: vec4<u32>;
  if (mine.x) { a = values(row, inner, tap); }
  if (mine.y) { b = values(row + 1u, inner, tap); }
  if (mine.z) { c = values(row + 2u, inner, tap); }
  if (mine.w) { d = values(row + 3u, inner, tap); }
  if (LORA) {
    if (mine.x) { a = changed(a, row, inner, tap); }
    if (mine.y) { b = changed(b, row + 1u, inner, tap); }
    if (mine.z) { c = changed(c, row + 2u, inner, tap); }
    if (mine.w) { d = changed(d, row + 3u, inner, tap); }
  }
  if (LOSS) {
    count_loss(a);
    count_loss(b);
    count_loss(c);
    count_loss(d);
  }
  let at = (rest * params.padded + inner) * 4u + i % 4u;
  put(at, vec4<u32>(a.x, b.x, c.x, d.x), keep);
  put(at + 4u, vec4<u32>(a.y, b.y, c.y, d.y), keep);
  put(at + 8u, vec4<u32>(a.z, b.z, c.z, d.z), keep);
  put(at + 12u, vec4<u32>(a.w, b.w, c.w, d.w), keep);
}

// 4 inputs of a row.
fn row_quad(i: u32) {
  let inner = i % (params.padded / 4u) * 4u;
  let rest = i / (params.padded / 4u);
  let tap = rest % params.taps;
  let out = rest / params.taps;
  let row = out - params.first;
  var v: vec4<u32>;
  if (row < params.rows) {
    v = values(row, inner, tap);
    if (LORA) { v = changed(v, row, inner, tap); }
    if (LOSS) { count_loss(v); }
  } else if (out < params.out) { return; }
  put(i, v, vec4<bool>(false));
}

// 4 values of any rows.
fn flat(i: u32) {
  let at = i * 4u + NEXT;
  let e = at - params.first;
  let mine = e < vec4<u32>(params.rows);
  let keep = !mine & (at < vec4<u32>(params.out));
  if (all(keep)) { return; }
  var v: vec4<u32>;
  for (var k = 0u; k < 4u; k++) {
    if (!mine[k]) { continue; }
    var value = vec4<u32>(one(e[k]));
    let row = e[k] / params.inner;
    let inner = e[k] % params.inner;
    if (SCALED) { value = scaled(value, row); }
    if (LORA) { value = vec4<u32>(changed(value, row, inner & ~3u, 0u)[inner & 3u]); }
    v[k] = value.x;
  }
  if (LOSS) { count_loss(v); }
  put(i, v, keep);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  for (var k = 0u; k < ITEMS; k++) {
    let i = (group * ITEMS + k) * 64u + lane;
    if (i >= params.count) { break; }
    if (LAYOUT == 0u) { panel(i); } else if (LAYOUT == 1u) { row_quad(i); } else { flat(i); }
  }
  if (LOSS) { report_loss(group, lane); }
}
//! part ends

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

fn byte(at: u32) -> u32 { return (x[at / 4u] >> (at % 4u * 8u)) & 0xffu; }

// Values e … e + 3 of x, e a multiple of 4, as bits of f32.
fn quad(e: u32) -> vec4<u32> {
  let k = e % 256u;
  let at = params.x_byte + e / 256u * select(select(144u, 176u, FORMAT == 1u), 210u, FORMAT == 2u);
  if (FORMAT == 2u) {
    // Of each half four runs of 32: low nibbles of 32 bytes, of the next 32, then their high ones; beside them two bits each.
    let half = k / 128u;
    let run = k % 128u / 32u;
    let lane = k % 32u;
    let low = bytes(at + half * 64u + run % 2u * 32u + lane) >> (run / 2u * 4u);
    let high = bytes(at + 128u + half * 32u + lane) >> (run * 2u);
    let q = ((vec4<u32>(low) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u)) |
      (((vec4<u32>(high) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(3u)) << vec4<u32>(4u));
    let scale = bitcast<i32>(byte(at + 192u + k / 16u) << 24u) >> 24u;
    return bitcast<vec4<u32>>(half_at(at + 208u) * f32(scale) * (vec4<f32>(q) - 32.0));
  }
  // Eight runs of 32: the low nibbles of 32 bytes, then their high ones.
  let run = k / 32u;
  let lane = k % 32u;
  // Scales and minima of six bits: the first four runs' in the low bits of bytes, whose high two are of the others'.
  var scale = byte(at + 4u + run);
  var least = byte(at + 8u + run);
  if (run < 4u) {
    scale &= 63u;
    least &= 63u;
  } else {
    scale = (least & 15u) | ((byte(at + run) >> 6u) << 4u);
    least = (least >> 4u) | ((byte(at + 4u + run) >> 6u) << 4u);
  }
  let nibbles = bytes(at + select(16u, 48u, FORMAT == 1u) + run / 2u * 32u + lane) >> (run % 2u * 4u);
  var q = (vec4<u32>(nibbles) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u);
  if (FORMAT == 1u) { q |= ((vec4<u32>(bytes(at + 16u + lane) >> run) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(1u)) << vec4<u32>(4u); }
  return bitcast<vec4<u32>>(half_at(at) * f32(scale) * vec4<f32>(q) - half_at(at + 2u) * f32(least));
}
