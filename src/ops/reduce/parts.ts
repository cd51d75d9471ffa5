/**
 * Sums in two stages, in a fixed order, for the same bytes each time: chunks of rows are summed at once, each into a part of its own, then
 * the parts one after another. Kernels: kernels/reduce/.
 */
import { sumParts as kernel } from "#kernels";
import type { Capabilities } from "../../gpu/capabilities.ts";
import { bytesOf } from "../../graph/dtype.ts";
import type { Dispatch, View } from "../../graph/op.ts";
import { padTo } from "../../graph/packing.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { dispatch, foldGrid, gcd, type RowWindow, rowWindows } from "../../plan/dispatch.ts";

/** Chunks that can be bound at once. */
export interface ChunkWindow {
  /** The first chunk, and how many. */
  readonly first: number;
  readonly chunks: number;
  /** The first row, and how many. */
  readonly start: number;
  readonly rows: number;
}

export interface Chunks {
  /** Rows of a chunk; the last may have fewer. */
  readonly rows: number;
  readonly count: number;
  readonly windows: readonly ChunkWindow[];
}

/**
 * Cuts `rows` into about `wanted` chunks, no more than have parts of `partBytes` in one binding.
 * @param rowBytes of the tensors that are read by windows of chunks
 */
export function chunksOf(caps: Capabilities, rows: number, wanted: number, rowBytes: readonly number[], partBytes: number): Chunks {
  const most = Math.max(1, Math.min(wanted, Math.floor(caps.maxBindingBytes / partBytes)));
  // Chunks begin where a binding may.
  const unit = Math.max(...rowBytes.map((bytes) => caps.offsetAlignment / gcd(caps.offsetAlignment, bytes)));
  const bound = Math.max(unit, Math.floor(caps.maxBindingBytes / Math.max(...rowBytes) / unit) * unit);
  const each = Math.min(padTo(Math.ceil(rows / most), unit), bound);
  const count = Math.ceil(rows / each);
  const windows = rowWindows(
    caps,
    count,
    rowBytes.map((bytes) => bytes * each),
    0,
    { what: "chunks of rows" },
  ).map((w) => ({ first: w.start, chunks: w.count, start: w.start * each, rows: Math.min(w.count * each, rows - w.start * each) }));
  return { rows: each, count, windows };
}

/** The rows of a window, of `columns` values each. */
export function chunkView(tensor: Tensor, { start, rows }: ChunkWindow, columns: number): View {
  const bytes = columns * bytesOf[tensor.dtype];
  return { tensor, offset: start * bytes, bytes: rows * bytes };
}

/**
 * `rows` of y [..., columns] f32 (default: all) = the sum of `parts` [S, …] f32, whose rows have `stride` values. The parts fit a binding.
 */
export function sumParts(
  caps: Capabilities,
  parts: Tensor,
  y: Tensor,
  { columns, stride }: { columns: number; stride: number },
  rows: RowWindow = { start: 0, count: y.size / columns },
): Dispatch[] {
  const count = parts.dim(0);
  return rowWindows(caps, rows.count * columns, [4]).map((window) =>
    dispatch({
      kernel,
      params: { count: window.count, first: window.start, parts: count, part: parts.size / count, columns, stride },
      bindings: { x: parts, y: { tensor: y, offset: (rows.start * columns + window.start) * 4, bytes: window.count * 4 } },
      grid: foldGrid(Math.ceil(window.count / kernel.overrides.WG), caps),
      cost: { flops: count * window.count, bytes: (count + 1) * window.count * 4 },
    }),
  );
}
