/**
 * How a weight is stored, in a file or in the device's memory: rows of blocks, each of so many values in so many bytes. What a kernel
 * reads is made of it by `Unpacker` (src/run/unpacker.ts), on the device.
 *
 * Plain formats are blocks of one value. The quantized ones are ggml's, little-endian (ggml-common.h of llama.cpp): a row is whole
 * blocks, and a block has the scale of its values.
 *
 *  e4m3          OCP FP8 E4M3FN: 1 sign, 4 exponent bits (bias 7), 3 of mantissa, no infinities, S.1111.111 is NaN
 *  q8_0          f16 d, i8[32]: d · q
 *  q4_0          f16 d, u8[16]: the low nibbles are values 0 to 15, the high ones 16 to 31; d · (q - 8)
 *  q5_0          f16 d, u32 of fifth bits, u8[16] as q4_0; d · (q - 16)
 *  q4_k          f16 d, f16 dmin, u8[12] of 6-bit scales and minima, u8[128]; d · scale · q - dmin · min
 *  q5_k          as q4_k, with u8[32] of fifth bits before the nibbles
 *  q6_k          u8[128] low nibbles, u8[64] high pairs, i8[16] scales, f16 d; d · scale · (q - 32)
 */
import { allOver } from "../base/all-over.ts";
import { elements } from "../base/shape.ts";

/** How a weight is stored: plain numbers, or GGML's blocks of few bits a value. */
export type Format = "f32" | "f16" | "bf16" | "e4m3" | "q8_0" | "q4_0" | "q5_0" | "q4_k" | "q5_k" | "q6_k";

/** Values and bytes of a block. */
export const FORMATS: Readonly<Record<Format, { readonly values: number; readonly bytes: number }>> = {
  f32: { values: 1, bytes: 4 },
  f16: { values: 1, bytes: 2 },
  bf16: { values: 1, bytes: 2 },
  e4m3: { values: 1, bytes: 1 },
  q8_0: { values: 32, bytes: 34 },
  q4_0: { values: 32, bytes: 18 },
  q5_0: { values: 32, bytes: 22 },
  q4_k: { values: 256, bytes: 144 },
  q5_k: { values: 256, bytes: 176 },
  q6_k: { values: 256, bytes: 210 },
};

/** A weight where it is stored. */
export interface StoredWeight {
  /** What messages call it: the name in its file, and the file. */
  readonly label: string;
  /** [out, in], [out, in, kt, kh, kw] or [n]; row-major. Rows are whole blocks: values of a row (all dimensions but the first). */
  readonly shape: readonly number[];
  readonly format: Format;
  /** Every value is multiplied with it: one number, or one a row (scaled fp8). */
  readonly scale?: Float32Array;
  /** The values that its blocks are made of as they are read, where they are: in f32, f16 or bf16. A device can make them itself. */
  readonly plain?: StoredWeight;
  /**
   * Bytes `start` (included) to `start + into.length` of the weight as it is stored, into memory that may be a mapped buffer's.
   * Several reads may be under way.
   */
  read(start: number, into: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<void>;
}

/** Bytes of one row; of a vector, whose values are its rows, those of all of it. */
export function rowBytes({ shape, format }: Pick<StoredWeight, "shape" | "format">): number {
  const { values, bytes } = FORMATS[format];
  return (elements(shape.length > 1 ? shape.slice(1) : shape) / values) * bytes;
}

/** Bytes of the whole weight as it is stored. */
export function storedBytes({ shape, format }: Pick<StoredWeight, "shape" | "format">): number {
  const { values, bytes } = FORMATS[format];
  return (elements(shape) / values) * bytes;
}

/** Rows that are read at once, where they are not neighbours. */
const ROWS_AT_ONCE = 8;

/** Some rows of a matrix, in the order that they are named in, as a matrix of their own. */
export function storedRows(whole: StoredWeight, rows: readonly number[]): StoredWeight {
  const bytes = rowBytes(whole);
  const { scale } = whole;
  return {
    label: whole.label,
    shape: [rows.length, ...whole.shape.slice(1)],
    format: whole.format,
    ...(scale ? { scale: scale.length > 1 ? Float32Array.from(rows, (row) => scale[row]!) : scale } : {}),
    async read(start, into, signal) {
      const end = start + into.length;
      const wanted = rows.slice(Math.floor(start / bytes), Math.ceil(end / bytes)).entries();
      const before = start - (start % bytes);
      const one = async (): Promise<void> => {
        for (const [i, row] of wanted) {
          const [from, to] = [Math.max(start, before + i * bytes), Math.min(end, before + (i + 1) * bytes)];
          await whole.read(row * bytes + (from - before - i * bytes), into.subarray(from - start, to - start), signal);
        }
      };
      // An error waits for the others: nothing is written to the memory after it.
      await allOver(Array.from({ length: ROWS_AT_ONCE }, one));
    },
  };
}
