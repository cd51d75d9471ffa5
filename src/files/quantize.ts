/**
 * Numbers → ggml's blocks of 32 with one scale, in the arithmetic of llama.cpp's reference, as PyPI's gguf has it, so that
 * the same weights become the same bytes. The scale of a block is chosen so that its largest value lies on the grid.
 */
import { CogwheelError } from "../base/errors.ts";
import { f16ToNumber, numberToF16 } from "../base/half.ts";

/** The types that weights are quantized to. */
export const QUANTIZED_TYPES = ["q8_0", "q5_0", "q4_0"] as const;
export type QuantizedType = (typeof QUANTIZED_TYPES)[number];

/** Values of a block, of each type. */
export const BLOCK = 32;
/** Bytes of a block. */
export const BLOCK_BYTES: Readonly<Record<QuantizedType, number>> = { q8_0: 34, q5_0: 22, q4_0: 18 };

const f32 = Math.fround;

/**
 * Quantizes whole blocks.
 * @param out where to write; `BLOCK_BYTES` a block
 */
export function quantize(
  values: Float32Array,
  type: QuantizedType,
  out: Uint8Array<ArrayBuffer> = new Uint8Array((values.length / BLOCK) * BLOCK_BYTES[type]),
): Uint8Array<ArrayBuffer> {
  const size = BLOCK_BYTES[type];
  if (values.length % BLOCK || out.length !== (values.length / BLOCK) * size)
    throw new CogwheelError(
      "quantize",
      `whole blocks of ${BLOCK} values must be given, and ${size} bytes for each, got ${values.length} and ${out.length}; cut at a row`,
    );
  const put = type === "q8_0" ? putQ8 : putNibbles;
  for (let from = 0, to = 0; from < values.length; from += BLOCK, to += size) put(values, from, out, to, size);
  return out;
}

/** Of a block, the value of largest magnitude, the first of several. */
function largest(x: Float32Array, from: number): number {
  let found = 0;
  for (let i = from; i < from + BLOCK; i++) if (Math.abs(x[i]!) > Math.abs(found)) found = x[i]!;
  return found;
}

/** Writes the scale, and gives what values are multiplied with: nothing where the scale is too small to be divided by. */
function putScale(d: number, out: Uint8Array, to: number): number {
  const inverse = d === 0 ? 0 : f32(1 / d);
  const half = Number.isFinite(inverse) ? numberToF16(d) : 0;
  out[to] = half & 255;
  out[to + 1] = half >> 8;
  return Number.isFinite(inverse) ? inverse : 0;
}

function putQ8(x: Float32Array, from: number, out: Uint8Array, to: number): void {
  const inverse = putScale(f32(Math.abs(largest(x, from)) / 127), out, to);
  for (let i = 0; i < BLOCK; i++) {
    const v = f32(x[from + i]! * inverse);
    // Halves go away from zero.
    const whole = Math.floor(Math.abs(v));
    const size = Math.abs(v) - whole >= 0.5 ? whole + 1 : whole;
    out[to + 2 + i] = v < 0 ? -size : size;
  }
}

/** q4_0, and q5_0, which has the fifth bits of all values in 4 bytes before the nibbles. */
function putNibbles(x: Float32Array, from: number, out: Uint8Array, to: number, size: number): void {
  const five = size === BLOCK_BYTES.q5_0;
  const middle = five ? 16 : 8;
  const nibbles = to + (five ? 6 : 2);
  const inverse = putScale(f32(largest(x, from) / -middle), out, to);
  let high = 0;
  for (let i = 0; i < BLOCK / 2; i++) {
    const low = level(x[from + i]!, inverse, middle);
    const top = level(x[from + i + BLOCK / 2]!, inverse, middle);
    out[nibbles + i] = (low & 15) | ((top & 15) << 4);
    high |= ((low >> 4) << i) | ((top >> 4) << (i + BLOCK / 2));
  }
  if (five) for (let byte = 0; byte < 4; byte++) out[to + 2 + byte] = high >>> (8 * byte);
}

/** Where a value lies on the grid, from 0 up. */
function level(v: number, inverse: number, middle: number): number {
  const at = Math.trunc(f32(f32(v * inverse) + middle + 0.5));
  return at < 2 * middle ? at : 2 * middle - 1;
}

/** The values of whole blocks, in f32. */
export function dequantize(
  bytes: Uint8Array,
  type: QuantizedType,
  out: Float32Array<ArrayBuffer> = new Float32Array((bytes.length / BLOCK_BYTES[type]) * BLOCK),
): Float32Array<ArrayBuffer> {
  const size = BLOCK_BYTES[type];
  for (let at = 0, to = 0; at < bytes.length; at += size, to += BLOCK) {
    const d = f16ToNumber(bytes[at]! | (bytes[at + 1]! << 8));
    if (type === "q8_0") for (let i = 0; i < BLOCK; i++) out[to + i] = d * ((bytes[at + 2 + i]! << 24) >> 24);
    else {
      const five = type === "q5_0";
      const [middle, nibbles] = five ? [16, at + 6] : [8, at + 2];
      for (let i = 0; i < BLOCK; i++) {
        const nibble = (bytes[nibbles + (i & 15)]! >> (i & 16 ? 4 : 0)) & 15;
        const high = five ? ((bytes[at + 2 + (i >> 3)]! >> (i & 7)) & 1) << 4 : 0;
        out[to + i] = d * ((nibble | high) - middle);
      }
    }
  }
  return out;
}
