/**
 * Layouts of a weight on the GPU. A packed weight is derived from its logical value and cached under
 * (names, shape, packing, dtype). What is no weight is packed in each run (`pack-operands.ts`).
 *
 *  natural   as in the checkpoint, row-major
 *  panel     [out, in] → [ceil(out / 16)][in padded to 4][16]: the 16 output columns of a panel lie side by side for each
 *            input, zeros past the end. Matmul and convolution read whole vec4 rows of it, and windows over panels are contiguous
 *            ranges. A convolution's [out, in, kt, kh, kw] becomes [panel][kt][kh][kw][in padded to 4][16].
 *  row       [out, in] → [out padded to 16][in padded to 8], zeros past the ends: for kernels that read 8 halves of a row at once. A
 *            convolution's [out, in, kt, kh, kw] becomes [out padded to 16][kt][kh][kw][in padded to 8].
 *  q8        [out, in] of q8_0 → [ceil(out / 16)][in / 32] blocks of 576 bytes: the values of 16 outputs and 32 inputs, 4 inputs of an
 *            output a word, [8][16], then the f32 scales [16]. For a matmul in 8-bit integers; nothing else is packed so.
 *  vector    any shape, flat, zeros up to a multiple of 16: biases and norm weights, read a vec4 at a time
 *
 * In all of them 16 outputs become one contiguous block, and blocks follow each other as outputs do. So a weight is packed some rows at a
 * time, on the device (`Unpacker`), and is never on the host as a whole.
 */
import { bytesOf, elements, type DType } from "./dtype.ts";

/** How a matrix is laid out for the kernels that read it. */
export type Packing = "natural" | "panel" | "row" | "q8" | "vector";
/** Layouts of numbers; the others are of what is stored. */
export type NumberPacking = Exclude<Packing, "q8">;
/** Columns of a panel of the packing `panel`. */
export const PANEL = 16;
/** Inputs of a block of the packing `q8`, and its bytes a row. */
export const Q8 = { values: 32, bytes: 36 } as const;

export const padTo = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple;

/** Elements of a weight of logical `shape` under `packing`. */
export function packedElements(shape: readonly number[], packing: NumberPacking): number {
  if (packing === "natural") return elements(shape);
  if (packing === "vector") return padTo(elements(shape), PANEL);
  const [out, inner, ...taps] = shape as [number, number, ...number[]];
  return padTo(out, PANEL) * padTo(inner, packing === "row" ? 8 : 4) * elements(taps);
}
export function packedBytes(shape: readonly number[], packing: Packing, dtype: DType): number {
  if (packing !== "q8") return packedElements(shape, packing) * bytesOf[dtype];
  return padTo(shape[0]!, PANEL) * (elements(shape.slice(1)) / Q8.values) * Q8.bytes;
}
