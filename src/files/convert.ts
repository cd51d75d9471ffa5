/**
 * Checkpoint dtypes → what the GPU stores: f32, or f16 where the adapter has it. WGSL has no bf16, and bf16 reaches
 * 3e38 and 1e-38 where f16 ends at 65504 and 6e-8, so a weight that was trained in bf16 may not fit. Converting to
 * f16 may lose something, which float16-loss.ts tells.
 *
 * All functions take a whole number of elements and may be called on a tensor piece by piece. The 16-bit formats go through tables of
 * 65,536 entries, which are made at the first use.
 */
import { CogwheelError } from "../base/errors.ts";
import { DTYPE_BYTES } from "./safetensors-dtype.ts";
import type { SafetensorsDType } from "./safetensors-dtype.ts";

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
function roundToF16(word: number): number {
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

/**
 * Any dtype → f32. 16-bit formats fit exactly; F64 and integers beyond 2²⁴ round to nearest.
 *
 * @param bytes little-endian elements; any alignment
 * @param out where to write; as many elements as `bytes` holds
 */
export function toFloat32(
  bytes: Uint8Array,
  dtype: SafetensorsDType,
  out: Float32Array<ArrayBuffer> = new Float32Array(elementsIn(bytes, dtype)),
): Float32Array<ArrayBuffer> {
  const count = elementsIn(bytes, dtype);
  checkOut(out.length, count, "toFloat32");
  switch (dtype) {
    case "F32":
      // By bytes: a copy through float32 values may quiet a NaN.
      new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes);
      break;
    case "F16": {
      const source = view(bytes, Uint16Array);
      const table = f16Values();
      for (let i = 0; i < count; i++) out[i] = table[source[i]!]!;
      break;
    }
    case "BF16": {
      const source = view(bytes, Uint16Array);
      const words = new Uint32Array(out.buffer, out.byteOffset, count);
      for (let i = 0; i < count; i++) words[i] = source[i]! << 16;
      break;
    }
    case "I64": {
      const source = view(bytes, BigInt64Array);
      for (let i = 0; i < count; i++) out[i] = Number(source[i]!);
      break;
    }
    case "F64":
      out.set(view(bytes, Float64Array));
      break;
    case "I32":
      out.set(view(bytes, Int32Array));
      break;
    case "I16":
      out.set(view(bytes, Int16Array));
      break;
    case "I8":
      out.set(view(bytes, Int8Array));
      break;
    case "U32":
      out.set(view(bytes, Uint32Array));
      break;
    case "U16":
      out.set(view(bytes, Uint16Array));
      break;
    case "U8":
    case "BOOL":
      out.set(bytes);
      break;
  }
  return out;
}

/** At most this many elements are widened to f32 at a time on the way to f16. */
export const CHUNK = 1 << 16;

/**
 * Any dtype → f16 bits, to nearest with ties to even. F16 goes through unchanged. What is lost `float16Loss` tells.
 *
 * @param bytes little-endian elements; any alignment
 * @param out where to write; as many elements as `bytes` holds
 */
export function toFloat16(
  bytes: Uint8Array,
  dtype: SafetensorsDType,
  out: Uint16Array<ArrayBuffer> = new Uint16Array(elementsIn(bytes, dtype)),
): Uint16Array<ArrayBuffer> {
  const count = elementsIn(bytes, dtype);
  checkOut(out.length, count, "toFloat16");
  if (dtype === "F16") out.set(view(bytes, Uint16Array));
  else if (dtype === "BF16") {
    const halves = bf16Halves();
    const source = view(bytes, Uint16Array);
    for (let i = 0; i < count; i++) out[i] = halves[source[i]!]!;
  } else if (dtype === "F32") narrow(view(bytes, Uint32Array), out);
  else {
    const size = DTYPE_BYTES[dtype];
    for (let at = 0; at < count; at += CHUNK) {
      const wide = toFloat32(bytes.subarray(at * size, (at + CHUNK) * size), dtype);
      narrow(new Uint32Array(wide.buffer), out.subarray(at, at + CHUNK));
    }
  }
  return out;
}

/** f32 bits → f16 bits. */
function narrow(words: Uint32Array, out: Uint16Array): void {
  for (let i = 0; i < words.length; i++) out[i] = roundToF16(words[i]!);
}

/** How many elements the bytes are; throws where they are no whole number. */
export function elementsIn(bytes: Uint8Array, dtype: SafetensorsDType): number {
  const count = bytes.length / DTYPE_BYTES[dtype];
  if (!Number.isInteger(count)) {
    throw new CogwheelError(
      "checkpoint",
      `a conversion must get whole ${dtype} elements of ${DTYPE_BYTES[dtype]} bytes, got ${bytes.length} bytes; cut at an element`,
    );
  }
  return count;
}

function checkOut(length: number, count: number, name: string): void {
  if (length !== count) {
    throw new CogwheelError(
      "checkpoint",
      `${name}: out must hold as many elements as the source, got ${length} for ${count}; pass an array of that length`,
    );
  }
}

interface ViewType<T> {
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): T;
  readonly BYTES_PER_ELEMENT: number;
}

/** A typed view over the bytes, which are copied first if they are not aligned for it. */
export function view<T>(bytes: Uint8Array, Type: ViewType<T>): T {
  const aligned = bytes.byteOffset % Type.BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
  return new Type(aligned.buffer, aligned.byteOffset, aligned.byteLength / Type.BYTES_PER_ELEMENT);
}
