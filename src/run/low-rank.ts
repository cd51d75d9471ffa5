/** Changes of weights by adapters, as the kernels that make and add them read their factors. */
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import type { Packing } from "../graph/packing.ts";
import { upStart, vectors } from "../plan/low-rank.ts";
import type { Unpacking } from "../plan/unpacking.ts";

export { changeOf } from "../plan/low-rank.ts";

/** A change of a weight by an adapter: factor · up · down (Hu et al. 2021, arXiv:2106.09685). */
export interface LowRank {
  /** [rows of the stored weight, rank] */
  readonly up: Float32Array;
  /** [rank, values of a row] */
  readonly down: Float32Array;
  readonly rank: number;
  readonly factor: number;
}

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** At least so many bytes, the last of `made` or one more: parts that are prepared keep what they were bound to. */
export function changeBuffer(gpu: Gpu, made: OwnedBuffer[], bytes: number): OwnedBuffer {
  const last = made.at(-1);
  if (last && last.bytes >= bytes) return last;
  made.push(gpu.buffer("unpack.change", bytes, GPUBufferUsage.STORAGE));
  return made.at(-1)!;
}

/** The outer factors of a part's rows, with `factor` in them, stacked: [rank][rows up to a multiple of 4]. */
export function stackedUp(changes: readonly LowRank[], part: Unpacking, storedRow: number, rank: number): Float32Array {
  const before = part.firstRow - upStart(part);
  const outs = 4 * vectors(before + part.rows);
  const data = new Float32Array(rank * outs);
  let first = 0;
  for (const { up, rank: own, factor } of changes) {
    for (let row = 0; row < part.rows; row++)
      for (let r = 0; r < own; r++) data[(first + r) * outs + before + row] = factor * up[(storedRow + row) * own + r]!;
    first += own;
  }
  return data;
}

/** The inner factors stacked, [taps][rank][inputs up to a multiple of 4]. */
export function stackedDown(
  changes: readonly LowRank[],
  { shape, packing }: { readonly shape: readonly number[]; readonly packing: Packing },
  rank: number,
): Float32Array<ArrayBuffer> {
  const flat = packing === "natural" || packing === "vector";
  const inner = flat ? product(shape.slice(1)) : (shape[1] ?? 1);
  const taps = flat ? 1 : product(shape.slice(2));
  const padded = 4 * vectors(inner);
  const data = new Float32Array(taps * rank * padded);
  let first = 0;
  for (const { down, rank: own } of changes) {
    for (let tap = 0; tap < taps; tap++)
      for (let r = 0; r < own; r++) {
        const at = (tap * rank + first + r) * padded;
        if (taps === 1) data.set(down.subarray(r * inner, (r + 1) * inner), at);
        else for (let i = 0; i < inner; i++) data[at + i] = down[(r * inner + i) * taps + tap]!;
      }
    first += own;
  }
  return data;
}
