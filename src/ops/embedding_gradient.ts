/** embedding_gradient: the sums of what reads each row of a table: the gradient of rows that ids name. Kernels: kernels/embed/. */
import { embeddingGradient as kernel, embeddingReaders } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

interface Inputs {
  ids: Tensor;
  dy: Tensor;
}

/**
 * ids [...] u32 and dy [..., C] → dtable [V, C] f32: in row v the sum of dy over the ids that are v, in their order; zeros where none is.
 * An id past the table counts as its last row.
 */
export function embeddingGradient(ids: Tensor, dy: Tensor, vocab: number): Tensor {
  return ids.graph.record(embeddingGradientOp, { ids, dy }, { vocab }).dtable;
}

/** Where no row reads; a first past every last. */
const NONE = 0x7fffffff;

export const embeddingGradientOp: Op<Inputs, { vocab: number }, "dtable"> = {
  name: "embedding_gradient",
  infer({ ids, dy }, { vocab }) {
    const c = dy.size / ids.size;
    if (ids.dtype !== "u32" || !isFloat(dy) || c !== dy.dim(-1) || c % 4)
      throw new CogwheelError(
        "embedding_gradient",
        `ids must be u32 [...] and dy f32 or f16 [..., C] with C a multiple of 4, got ${ids} and ${dy}; reshape or convert them`,
      );
    return { dtable: { shape: [vocab, c], dtype: "f32" } };
  },
  cost: ({ inputs: { ids, dy }, outputs: { dtable } }) => ({ flops: dy.size, bytes: ids.bytes + dy.bytes + dtable.bytes }),
  lower({ inputs: { ids, dy }, attrs: { vocab }, outputs: { dtable } }, target) {
    const { caps } = target;
    const c = dtable.dim(1);
    const out: Dispatch[] = [];
    let readers: Tensor;
    if (ids.role === "constant") readers = target.constant("readers", readersOf(ids.data as Uint32Array, vocab), [vocab, 2]);
    else {
      readers = target.scratch([vocab, 2], "u32");
      for (const [FORGET, count] of [
        [1, vocab],
        [0, ids.size],
      ] as const)
        out.push(
          dispatch({
            kernel: embeddingReaders,
            consts: { FORGET },
            params: { count, vocab },
            bindings: { ids, readers },
            grid: foldGrid(Math.ceil(count / 64), caps),
          }),
        );
    }
    for (const part of rowWindows(caps, vocab, [4 * c]))
      for (const [i, rows] of rowWindows(caps, ids.size, [c * bytesOf[dy.dtype]]).entries())
        out.push(
          dispatch({
            kernel,
            types: { G: dy.dtype },
            consts: { ADD: +(i > 0) },
            params: { count: part.count, c4: c / 4, table_first: part.start, first: rows.start, rows: rows.count, vocab },
            bindings: { ids, readers, dy: rowView(dy, rows, c), dtable: rowView(dtable, part, c) },
            grid: foldGrid(Math.ceil((part.count * c) / 4 / 64), caps),
          }),
        );
    return out;
  },
};

/** First and last reader of each row, as embedding_readers.wgsl has them. */
function readersOf(ids: Uint32Array, vocab: number): Uint32Array {
  const readers = Uint32Array.from({ length: 2 * vocab }, (_, i) => (i % 2 ? 0 : NONE));
  for (const [r, id] of ids.entries()) {
    const row = Math.min(id, vocab - 1);
    readers[2 * row] = Math.min(readers[2 * row]!, r);
    readers[2 * row + 1] = r;
  }
  return readers;
}
