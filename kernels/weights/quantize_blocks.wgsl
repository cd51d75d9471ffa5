// quantize_blocks.wgsl — numbers as they are stored → ggml's q8_0 and q4_0 blocks of 32, to the bit as the host makes them
//
// Shapes    x: f32, f16 or bf16, 32 a block · y: blocks of 34 (q8_0) or 18 (q4_0) bytes: f16 scale, then the values (src/graph/stored.ts)
// Work      a thread makes two blocks, which are whole words
// Dispatch  (ceil(blocks/128), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Needs     x and y begin at words (checked in src/plan/quantize-weight.ts)
// Numerics  WGSL leaves open how a division rounds, and whether subnormals are zeros: both quotients are made of integers, blocks whose
//           values are that small are scaled by 2^64 first, and a product is kept from being fused with what follows it by a mask that
//           no compiler knows. The arithmetic is src/files/quantize.ts's, which is PyPI gguf's
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
// How x is stored: 0 f32, 1 f16, 2 bf16
const FROM: u32 = 0u;
// q4_0
const FOUR: bool = false;
//! end
// blocks: how many · x_word, y_word: where they begin in their bindings · every: all bits set
struct Params { blocks: u32, x_word: u32, y_word: u32, every: u32 }
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

// Of a block in halves of a word
const HALVES: u32 = select(17u, 9u, FOUR);
const INFINITE: u32 = 0x7f800000u;

// f16 bits → f32 bits.
fn widen_half(half: u32) -> u32 {
  let magnitude = half & 0x7fffu;
  let small = bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8);
  let normal = (magnitude << 13u) + select(0x38000000u, 0x70000000u, magnitude >= 0x7c00u);
  return ((half & 0x8000u) << 16u) | select(normal, small, magnitude < 0x400u);
}

// The bits of value e as f32's.
fn value(e: u32) -> u32 {
  if (FROM == 0u) { return x[params.x_word + e]; }
  let half = (x[params.x_word + e / 2u] >> (e % 2u * 16u)) & 0xffffu;
  if (FROM == 2u) { return half << 16u; }
  return widen_half(half);
}

// m · 2^-shift to the nearest, ties to even; `rest`: was more cut off before?
fn rounded(m: u32, shift: u32, rest: bool) -> u32 {
  if (shift > 31u) { return 0u; }
  let whole = m >> shift;
  let cut = m & ((1u << shift) - 1u);
  let half = (1u << shift) >> 1u;
  let up = shift > 0u && (cut > half || (cut == half && (rest || (whole & 1u) == 1u)));
  return whole + u32(up);
}

// Mantissa of 24 bits, and the exponent of its last one, of a number that is not zero.
struct Parts { m: u32, e: i32 }
fn parts(magnitude: u32) -> Parts {
  var p = Parts(magnitude & 0x7fffffu, i32(magnitude >> 23u) - 150);
  if (p.e == -150) { p.e = -149; } else { p.m |= 0x800000u; }
  let up = countLeadingZeros(p.m) - 8u;
  return Parts(p.m << up, p.e - i32(up));
}

// f32 bits of m · 2^e, m of 25 to 32 bits, ties to even; infinity where it is too large.
fn number(m: u32, e: i32, rest: bool) -> u32 {
  let top = 31 - i32(countLeadingZeros(m));
  let exponent = max(top + e, -126);
  let at = rounded(m, u32(exponent - 23 - e), rest);
  // A mantissa that became 2^24 carries into the exponent; one below 2^23 is subnormal.
  return min(INFINITE, (u32(exponent + 126) << 23u) + at);
}

// largest / 127 or / 8, and 1 / d.
fn step_of(magnitude: u32) -> u32 {
  let p = parts(magnitude);
  if (FOUR) { return number(p.m << 7u, p.e - 10, false); }
  let scaled = p.m << 8u;
  return number(scaled / 127u, p.e - 8, scaled % 127u > 0u);
}
fn inverse_of(d: u32) -> u32 {
  let p = parts(d);
  // 2^49 / m, bit by bit: m has 24 bits.
  var rest = 1u << 23u;
  var quotient = 0u;
  for (var i = 0u; i < 27u; i++) {
    quotient <<= 1u;
    if (rest >= p.m) {
      rest -= p.m;
      quotient |= 1u;
    }
    rest <<= 1u;
  }
  return number(quotient, -49 - p.e, rest > 0u);
}

// f32 bits → f16 bits, ties to even.
fn half_of(bits: u32) -> u32 {
  let magnitude = bits & 0x7fffffffu;
  let sign = (bits >> 16u) & 0x8000u;
  if (magnitude >= 0x477ff000u) { return sign | 0x7c00u; }
  if (magnitude >= 0x38800000u) { return sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u); }
  if (magnitude < 0x33000000u) { return sign; }
  return sign | rounded((magnitude & 0x7fffffu) | 0x800000u, 126u - (magnitude >> 23u), false);
}

// A number times 2^64 where it is small: as bits, for f32 may lack subnormals.
fn enlarged(bits: u32) -> f32 {
  let magnitude = bits & 0x7fffffffu;
  var size = bitcast<f32>(magnitude + (64u << 23u));
  if (magnitude < 0x800000u) { size = f32(magnitude) * 2.5849394142282115e-26; } // 2^-85
  return select(size, -size, bits >> 31u == 1u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = ((wid.y * groups.x + wid.x) * 64u + lane) * 2u;
  if (first >= params.blocks) { return; }
  let count = min(2u, params.blocks - first);
  var words = array<u32, 17>();
  for (var b = 0u; b < count; b++) {
    let e = (first + b) * 32u;
    var most = 0u;
    for (var i = 0u; i < 32u; i++) {
      let v = value(e + i);
      let magnitude = v & 0x7fffffffu;
      if (magnitude <= INFINITE && magnitude > (most & 0x7fffffffu)) { most = v; }
    }
    let largest = most & 0x7fffffffu;
    var d = 0u;
    var inverse = 0u;
    if (largest == INFINITE) { d = INFINITE; } else if (largest > 0u) { d = step_of(largest); }
    if (d > 0u && d < INFINITE) { inverse = inverse_of(d); }
    let finite = inverse < INFINITE;
    // q4_0's largest value becomes -8.
    if (FOUR) { d |= ~most & 0x80000000u; }
    let half = select(0u, half_of(d), finite);
    if (!finite) { inverse = 0u; }
    let small = largest < 0x10000000u && inverse > 0u;
    let factor = bitcast<f32>(select(inverse, inverse - (64u << 23u), small) | (select(0u, ~most & 0x80000000u, FOUR && inverse > 0u)));
    let at = b * HALVES;
    words[at / 2u] |= half << (at % 2u * 16u);
    for (var i = 0u; i < 32u; i++) {
      let bits = value(e + i);
      var v = bitcast<f32>(bits);
      if (small) { v = enlarged(bits); }
      v = bitcast<f32>(bitcast<u32>(v * factor) & params.every);
      let none = (bits & 0x7fffffffu) >= INFINITE;
      var q: u32;
      var place: u32;
      if (FOUR) {
        q = u32(clamp(v + 8.5, 0.0, 15.0));
        if (none) { q = 15u; }
        place = (at + 1u) * 16u + i % 16u * 8u + i / 16u * 4u;
      } else {
        let size = abs(v);
        let whole = floor(size);
        let nearest = u32(whole) + select(0u, 1u, size - whole >= 0.5);
        q = select(nearest, 0u - nearest, v < 0.0) & 0xffu;
        if (none) { q = 0u; }
        place = (at + 1u) * 16u + i * 8u;
      }
      words[place / 32u] |= q << (place % 32u);
    }
  }
  let end = (count * HALVES + 1u) / 2u;
  for (var i = 0u; i < end; i++) { y[params.y_word + first / 2u * HALVES + i] = words[i]; }
}
