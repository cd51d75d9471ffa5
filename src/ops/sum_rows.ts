/** sum_rows: the sum of a matrix's rows, whole or by groups of rows: what the gradients of several readers come to. Kernels: kernels/norm/. */
import { sumRows as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Op, Target } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

/** x [S, C] f32 or f16 → [C] f32. C: a multiple of 4. */
export function sumRows(x: Tensor): Tensor {
  return x.graph.record(sumRowsOp, { x }, {}).y;
}

export const sumRowsOp: Op<{ x: Tensor }, object, "y"> = {
  name: "sum_rows",
  infer({ x }) {
    if (x.shape.length !== 2 || x.dim(1) % 4 || !isFloat(x))
      throw new CogwheelError("sum_rows", `x must be [S, C] in f32 or f16 with C a multiple of 4, got ${x}; reshape it`);
    return { y: { shape: [x.dim(1)], dtype: "f32" } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: x.size, bytes: x.bytes + y.bytes }),
  lower({ inputs: { x }, outputs: { y } }, target) {
    const { caps } = target;
    const [s, c] = x.shape as [number, number];
    if (x.bytes <= caps.maxBindingBytes) return [sumGroups(x, Uint32Array.of(0, s), y, target)];
    // One row after another, each added to those before it. A row may begin where no binding may: then its binding begins before it.
    const first = target.constant("one row", Uint32Array.of(0, 1), [2]);
    const vector = 4 * bytesOf[x.dtype];
    const room = { ...caps, maxBindingBytes: caps.maxBindingBytes - caps.offsetAlignment };
    return Array.from({ length: s }, (_, row) => row).flatMap((row) =>
      rowWindows(room, c / 4, [vector, 16]).map((w) => {
        const begin = (row * c) / 4 + w.start;
        const offset = Math.floor((begin * vector) / caps.offsetAlignment) * caps.offsetAlignment;
        const base = begin - offset / vector;
        return dispatch({
          kernel,
          types: { X: x.dtype },
          consts: { ROWS: 1, ADD: +(row > 0) },
          params: { c4: w.count, groups: 1, base },
          bindings: { x: { tensor: x, offset, bytes: (base + w.count) * vector }, first, y: rowView(y, w, 4) },
          grid: foldGrid(Math.ceil(w.count / 64), caps),
        });
      }),
    );
  },
};

/**
 * One dispatch: y [G, C] of the groups of x's rows [S, C] that begin at `first` [G + 1], which ends in S.
 * @param x within a binding
 */
export function sumGroups(x: Tensor, first: Uint32Array, y: Tensor, { caps, constant }: Target): Dispatch {
  const groups = first.length - 1;
  const c4 = y.size / groups / 4;
  const longest = first.subarray(1).reduce((most, end, g) => Math.max(most, end - first[g]!), 0);
  // As many lanes for a column's rows as have 4 each; few rows need no barrier.
  const rows = [16, 4].find((lanes) => longest >= 4 * lanes) ?? 1;
  return dispatch({
    kernel,
    types: { X: x.dtype },
    consts: { ROWS: rows, ADD: 0 },
    params: { c4, groups, base: 0 },
    bindings: { x, first: constant("first", first, [first.length]), y },
    grid: foldGrid(groups * Math.ceil(c4 / (64 / rows)), caps),
  });
}
