// shared/float16_loss.wgsl — f16 by its bits, rounded to nearest even, and what is lost in it
//
// Expects   nothing, but workgroups of 64
//
// WGSL leaves open how a conversion to f16 rounds, and a driver may take small numbers for zero.

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
