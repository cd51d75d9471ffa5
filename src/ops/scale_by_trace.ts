/** scale_by_trace: a matrix brought to norm 1 by the trace of its product with itself. Kernels: kernels/training/. */
import { scaleByTrace as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, vectorWindows } from "../plan/dispatch.ts";

interface Inputs {
  x: Tensor;
  gram: Tensor;
}

/** Vectors that a workgroup scales. */
const PER_WORKGROUP = 64 * 16;

/**
 * x f32 and gram f32 [N, N or more] → x / (√trace + 1e-7), or x / (√trace + 1e-7)² with `squared`.
 * gram = d · dᵀ has the squared norm of d for a trace, so d comes to norm 1, and gram to what it is of that.
 */
export function scaleByTrace(x: Tensor, gram: Tensor, { squared = false }: { squared?: boolean } = {}): Tensor {
  return x.graph.record(scaleByTraceOp, { x, gram }, { squared }).y;
}

export const scaleByTraceOp: Op<Inputs, { squared: boolean }, "y"> = {
  name: "scale_by_trace",
  infer({ x, gram }) {
    if (x.dtype !== "f32") throw new CogwheelError("scale_by_trace", `x must be f32, got ${x}; convert it`);
    if (gram.dtype !== "f32" || gram.shape.length !== 2 || gram.dim(1) < gram.dim(0))
      throw new CogwheelError("scale_by_trace", `gram must be an f32 matrix of N rows of N values or more, got ${gram}; reshape it`);
    return { y: { shape: x.shape, dtype: "f32" } };
  },
  cost: ({ inputs: { x, gram }, outputs: { y } }) => ({ flops: y.size, bytes: x.bytes + y.bytes + 4 * gram.dim(0) }),
  lower({ inputs: { x, gram }, attrs: { squared }, outputs: { y } }, { caps }) {
    return vectorWindows(caps, x.size, [4]).map((rows) =>
      dispatch({
        kernel,
        params: { count4: rows.count, n: gram.dim(0), stride: gram.dim(1), squared: +squared },
        bindings: { x: rowView(x, rows, 4), gram, y: rowView(y, rows, 4) },
        grid: foldGrid(Math.ceil(rows.count / PER_WORKGROUP), caps),
      }),
    );
  },
};
