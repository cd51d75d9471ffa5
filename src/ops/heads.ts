/** split_heads, merge_heads: between tokens by row, [M, N], and by head, [N/D, M, D], as attention reads them. Kernels: kernels/layout/. */
import { heads as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Op, Target } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

/** x [..., N] → [N/D, M, D] for heads of `width` D, a multiple of 4. `dtype`: of the result, default that of x. */
export function splitHeads(x: Tensor, width: number, dtype: DType = x.dtype): Tensor {
  return x.graph.record(splitHeadsOp, { x }, { width, dtype }).y;
}

/** x [N/D, M, D] → [M, N]. `dtype`: of the result, default that of x. */
export function mergeHeads(x: Tensor, dtype: DType = x.dtype): Tensor {
  return x.graph.record(mergeHeadsOp, { x }, { dtype }).y;
}

export const splitHeadsOp: Op<{ x: Tensor }, { width: number; dtype: DType }, "y"> = {
  name: "split_heads",
  infer({ x }, { width, dtype }) {
    const n = x.dim(-1);
    if (!isFloat(x) || width % 4 || n % width)
      throw new CogwheelError("split_heads", `a head's width must be a multiple of 4 that divides the columns, got ${width} for ${x}`);
    return { y: { shape: [n / width, x.size / n, width], dtype } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: 0, bytes: x.bytes + y.bytes }),
  lower: ({ inputs: { x }, outputs: { y } }, target) => copies(x, y, y, x, target),
};

export const mergeHeadsOp: Op<{ x: Tensor }, { dtype: DType }, "y"> = {
  name: "merge_heads",
  infer({ x }, { dtype }) {
    if (!isFloat(x) || x.shape.length !== 3 || x.dim(2) % 4)
      throw new CogwheelError("merge_heads", `x must be f32 or f16 [heads, M, D], D a multiple of 4, got ${x}; reshape it`);
    return { y: { shape: [x.dim(1), x.dim(0) * x.dim(2)], dtype } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: 0, bytes: x.bytes + y.bytes }),
  lower: ({ inputs: { x }, outputs: { y } }, target) => copies(x, y, x, y, target),
};

/** From x to y, of which one is by head and one by row: a window of whole heads of the one, and of rows of the other. */
function copies(x: Tensor, y: Tensor, byHead: Tensor, byRow: Tensor, { caps }: Target): Dispatch[] {
  const [heads, m, d] = byHead.shape as [number, number, number];
  const merge = byHead === x;
  return rowWindows(caps, heads, [m * d * bytesOf[byHead.dtype]], 0, { what: "heads" }).flatMap((head) =>
    rowWindows(caps, m, [heads * d * bytesOf[byRow.dtype]]).map((rows) => {
      const count = (head.count * rows.count * d) / 4;
      const views = [rowView(byHead, head, m * d), rowView(byRow, rows, heads * d)] as const;
      return dispatch({
        kernel,
        types: { X: x.dtype, Y: y.dtype },
        consts: { MERGE: +merge },
        params: { count, m: rows.count, d4: d / 4, first: (head.start * d) / 4, n4: (heads * d) / 4, row: rows.start, rows: m },
        bindings: merge ? { x: views[0], y: views[1] } : { x: views[1], y: views[0] },
        grid: foldGrid(Math.ceil(count / 64), caps),
      });
    }),
  );
}
