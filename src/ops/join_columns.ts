/** join_columns: two matrices side by side, such as a clip's patches and those of its condition. Kernels: kernels/embed/. */
import { joinColumns as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

/** a [R, A] and b [R, B] → [R, A + B]. `dtype`: default that of a. */
export function joinColumns(a: Tensor, b: Tensor, dtype: DType = a.dtype): Tensor {
  return a.graph.record(joinColumnsOp, { a, b }, { dtype }).y;
}

export const joinColumnsOp: Op<{ a: Tensor; b: Tensor }, { dtype: DType }, "y"> = {
  name: "join_columns",
  infer({ a, b }, { dtype }) {
    if (a.shape.length !== 2 || b.shape.length !== 2 || a.dim(0) !== b.dim(0) || !isFloat(a) || !isFloat(b))
      throw new CogwheelError("join_columns", `a and b must be f32 or f16 [R, A] and [R, B], got ${a} and ${b}; reshape or convert them`);
    return { y: { shape: [a.dim(0), a.dim(1) + b.dim(1)], dtype } };
  },
  cost: ({ inputs: { a, b }, outputs: { y } }) => ({ flops: 0, bytes: a.bytes + b.bytes + y.bytes }),
  lower({ inputs: { a, b }, outputs: { y } }, { caps }) {
    const widths = [a.dim(1), b.dim(1), y.dim(1)] as const;
    const bytes = [a, b, y].map(({ dtype }, i) => widths[i]! * bytesOf[dtype]);
    return rowWindows(caps, y.dim(0), bytes).map((rows) =>
      dispatch({
        kernel,
        types: { A: a.dtype, B: b.dtype, Y: y.dtype },
        params: { count: rows.count * widths[2], first: widths[0], second: widths[1] },
        bindings: { a: rowView(a, rows, widths[0]), b: rowView(b, rows, widths[1]), y: rowView(y, rows, widths[2]) },
        grid: foldGrid(Math.ceil((rows.count * widths[2]) / 64), caps),
      }),
    );
  },
};
