/**
 * The small floats: f16, which a GPU stores, bf16, which checkpoints are often in, and e4m3, which quantized ones are in. Tables of all
 * their values are made at the first use.
 */

const bits = new Uint32Array(1);
const value = new Float32Array(bits.buffer);

/** The value of an f16, from its 16 bits. */
export function f16ToNumber(half: number): number {
  return f16Values()[half]!;
}

/** The value of a bf16, from its 16 bits. */
export function bf16ToNumber(brain: number): number {
  bits[0] = brain << 16;
  return value[0]!;
}

/** The 16 bits of the f16 nearest to a float32, ties to even; infinity above 65520, NaN stays NaN. */
export function numberToF16(number: number): number {
  value[0] = number;
  return roundToF16(bits[0]!);
}

/** f32 bits → f16 bits. */
export function roundToF16(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude >= 0x47800000) {
    // 65536 and up; a NaN keeps the top of its payload and stays a NaN.
    return magnitude > 0x7f800000 ? sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff) : sign | 0x7c00;
  }
  if (magnitude >= 0x38800000) {
    // Normal in f16: rebias the exponent, then round off 13 bits; a carry runs into the exponent and, at the top, into infinity.
    const rebiased = magnitude - 0x38000000;
    return sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13);
  }
  const exponent = magnitude >>> 23;
  if (exponent < 102) return sign; // below 2^-25: nearer to zero than to the smallest subnormal
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - exponent; // 14 … 24 bits to round off
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
}

let f16Table: Float32Array | undefined;

/** The values of all 65,536 f16. */
export function f16Values(): Float32Array {
  if (f16Table) return f16Table;
  const words = new Uint32Array(65536);
  for (let half = 0; half < 65536; half++) {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >>> 10) & 31;
    const mantissa = half & 0x3ff;
    if (exponent === 31) words[half] = sign | 0x7f800000 | (mantissa << 13);
    else if (exponent > 0) words[half] = sign | ((exponent + 112) << 23) | (mantissa << 13);
    else {
      value[0] = mantissa * 2 ** -24;
      words[half] = sign | bits[0]!;
    }
  }
  return (f16Table = new Float32Array(words.buffer));
}

let bf16Table: Uint16Array | undefined;

/** The f16 bits nearest to each of the 65,536 bf16. */
export function bf16Halves(): Uint16Array {
  return (bf16Table ??= Uint16Array.from({ length: 65536 }, (_, brain) => roundToF16(brain << 16)));
}

let e4m3Table: Float32Array | undefined;

/** The values of all 256 fp8 numbers of OCP's E4M3FN: bias 7, no infinities, NaN where all bits but the sign are set. */
export function e4m3Values(): Float32Array {
  return (e4m3Table ??= Float32Array.from({ length: 256 }, (_, byte) => {
    const [exponent, mantissa] = [(byte >>> 3) & 15, byte & 7];
    if ((byte & 127) === 127) return NaN;
    const size = exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10);
    return byte & 128 ? -size : size;
  }));
}
