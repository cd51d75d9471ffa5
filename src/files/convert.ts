/**
 * Checkpoint dtypes → what the GPU stores: f32, or f16 where the adapter has it. WGSL has no bf16, and bf16 reaches
 * 3e38 and 1e-38 where f16 ends at 65504 and 6e-8, so a weight that was trained in bf16 may not fit. Converting to
 * f16 may lose something, which float16-loss.ts tells.
 *
 * All functions take a whole number of elements and may be called on a tensor piece by piece. The 16-bit formats go through
 * the tables of base/half.ts.
 */
import { CogwheelError } from "../base/errors.ts";
import { bf16Halves, e4m3Values, f16Values, roundToF16 } from "../base/half.ts";
import { DTYPE_BYTES } from "./safetensors-dtype.ts";
import type { SafetensorsDType } from "./safetensors-dtype.ts";

/**
 * Any dtype → f32. Floats of 16 and 8 bits fit exactly; F64 and integers beyond 2²⁴ round to nearest.
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
    case "F8_E4M3": {
      const table = e4m3Values();
      for (let i = 0; i < count; i++) out[i] = table[bytes[i]!]!;
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
