/**
 * Layouts of a weight on the GPU. A packed weight is derived from its logical value and cached under
 * (names, packing, dtype); whatever changes the logical value makes it again.
 *
 *  natural   as in the checkpoint, row-major
 *  panel     [out, in] → [ceil(out / 16)][in padded to 4][16]: the 16 output columns of a panel lie side by side for each
 *            input, zeros past the end. Matmul and convolution read whole vec4 rows of it, and windows over panels are contiguous
 *            ranges. A convolution's [out, in, kt, kh, kw] becomes [panel][kt][kh][kw][in padded to 4][16].
 *  row       [out, in] → [out padded to 16][in padded to 8], zeros past the ends: for kernels that read 8 halves of a row at once. A
 *            convolution's [out, in, kt, kh, kw] becomes [out padded to 16][kt][kh][kw][in padded to 8].
 *  vector    any shape, flat, zeros up to a multiple of 16: biases and norm weights, read a vec4 at a time
 */
import { bytesOf, elements, type DType } from "./dtype.ts";

export type Packing = "natural" | "panel" | "row" | "vector";
export const PANEL = 16;

export const padTo = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple;

/** Elements of a weight of logical `shape` under `packing`. */
export function packedElements(shape: readonly number[], packing: Packing): number {
  if (packing === "natural") return elements(shape);
  if (packing === "vector") return padTo(elements(shape), PANEL);
  const [out, inner, ...taps] = shape as [number, number, ...number[]];
  return padTo(out, PANEL) * padTo(inner, packing === "row" ? 8 : 4) * elements(taps);
}
export function packedBytes(shape: readonly number[], packing: Packing, dtype: DType): number {
  return packedElements(shape, packing) * bytesOf[dtype];
}

/** `data` is [out, in] or [out, in, kt, kh, kw], row-major. */
export function pack<T extends Float32Array | Uint16Array>(data: T, shape: readonly number[], packing: Packing): T {
  if (packing === "natural") return data;
  const packed = new (data.constructor as new (n: number) => T)(packedElements(shape, packing));
  if (packing === "vector") {
    packed.set(data);
    return packed;
  }
  const [out, inner, ...taps] = shape as [number, number, ...number[]];
  const tapCount = elements(taps);
  const innerPadded = padTo(inner, packing === "row" ? 8 : 4);
  const rowElements = inner * tapCount;
  // From one input to the next of an output, and where an output begins.
  const step = packing === "row" ? 1 : PANEL;
  const baseOf = (o: number): number => (packing === "row" ? o : Math.floor(o / PANEL) * PANEL) * innerPadded * tapCount + (packing === "row" ? 0 : o % PANEL);
  for (let o = 0; o < out; o++) {
    const base = baseOf(o);
    for (let tap = 0; tap < tapCount; tap++) {
      for (let i = 0; i < inner; i++) {
        packed[base + (tap * innerPadded + i) * step] = data[o * rowElements + i * tapCount + tap]!;
      }
    }
  }
  return packed;
}
