// unpack_panels.wgsl — whole panels of a weight stored as f32, f16 or bf16, in vectors of 16 bytes
//
// Shapes    x [16 · panels][inner] · y [panels][inner][16]; both begin at a vector of their bindings
// Work      one thread has 8 outputs of as many inputs as a vector of x has: it reads 8 vectors, and writes a vector or two an input. Two
//           threads have 16 outputs, the next two the next inputs
// Dispatch  (ceil(count / (64 · ITEMS)), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Needs     inner a multiple of 8, of 4 for f32; neither scales, changes nor taps. The rest unpack_plain takes (src/plan/unpack-weight.ts)
// Numerics  as unpack_plain
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
// 0 f32, 1 f16, 2 bf16
const FORMAT: u32 = 1u;
// y is f16
const HALF: bool = false;
// Items of a thread
const ITEMS: u32 = 1u;
//! end
// count: items · wide: vectors of a row of x · x_first, y_first: vectors of the bindings that x and y begin at
struct Params { count: u32, wide: u32, x_first: u32, y_first: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;

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

fn pair(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> { return vec4<u32>(a.xz | (a.yw << vec2<u32>(16u)), b.xz | (b.yw << vec2<u32>(16u))); }

// 8 outputs of an input, as they are stored, to the vector of y that has the first.
fn put(at: u32, a: vec4<u32>, b: vec4<u32>) {
  if (FORMAT == 1u && HALF) {
    y[at] = pair(a, b);
    return;
  }
  var v = a;
  var w = b;
  if (FORMAT == 1u) {
    v = widen(a);
    w = widen(b);
  } else if (FORMAT == 2u) {
    v = a << vec4<u32>(16u);
    w = b << vec4<u32>(16u);
  }
  if (LOSS) {
    count_loss(v);
    count_loss(w);
  }
  if (HALF) {
    y[at] = pair(narrow(v), narrow(w));
  } else {
    y[at] = v;
    y[at + 1u] = w;
  }
}

// The word that each of 8 rows has of an input, or of two.
fn put_words(at: u32, a: vec4<u32>, b: vec4<u32>) {
  if (FORMAT == 0u) {
    put(at, a, b);
  } else {
    put(at, a & vec4<u32>(0xffffu), b & vec4<u32>(0xffffu));
    put(at + select(4u, 2u, HALF), a >> vec4<u32>(16u), b >> vec4<u32>(16u));
  }
}

fn panel(i: u32) {
  let column = i / 2u % params.wide;
  let first = i / 2u / params.wide * 16u + i % 2u * 8u;
  let start = params.x_first + first * params.wide + column;
  let a = x[start];
  let b = x[start + params.wide];
  let c = x[start + 2u * params.wide];
  let d = x[start + 3u * params.wide];
  let e = x[start + 4u * params.wide];
  let f = x[start + 5u * params.wide];
  let g = x[start + 6u * params.wide];
  let h = x[start + 7u * params.wide];
  // Vectors of an input, of a vector of inputs, and of 8 outputs.
  let input = select(4u, 2u, HALF);
  let word = select(2u * input, input, FORMAT == 0u);
  let at = params.y_first + i / 2u * 4u * word + i % 2u * (input / 2u);
  put_words(at, vec4<u32>(a.x, b.x, c.x, d.x), vec4<u32>(e.x, f.x, g.x, h.x));
  put_words(at + word, vec4<u32>(a.y, b.y, c.y, d.y), vec4<u32>(e.y, f.y, g.y, h.y));
  put_words(at + 2u * word, vec4<u32>(a.z, b.z, c.z, d.z), vec4<u32>(e.z, f.z, g.z, h.z));
  put_words(at + 3u * word, vec4<u32>(a.w, b.w, c.w, d.w), vec4<u32>(e.w, f.w, g.w, h.w));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  for (var k = 0u; k < ITEMS; k++) {
    let i = (group * ITEMS + k) * 64u + lane;
    if (i >= params.count) { break; }
    panel(i);
  }
  if (LOSS) { report_loss(group, lane); }
}
