/** leaky_relu: x where it is positive, else slope · x; with a slope of 0 the rectifier. Kernels: kernels/elementwise/. */
import { leakyRelu as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

interface Attrs {
  slope: number;
  dtype: DType;
}

/** Refuses a slope under which the result's sign would not be that of x. */
export function assertSlope(op: string, slope: number): void {
  if (!(slope >= 0 && slope < Infinity))
    throw new CogwheelError(op, `the slope must be a number from 0, got ${slope}; 0.2 is usual, 0 is a rectifier`);
}

/** x f32 or f16 with a multiple of 4 values → the same shape. `dtype`: default that of x. */
export function leakyRelu(x: Tensor, slope: number, dtype: DType = x.dtype): Tensor {
  return x.graph.record(leakyReluOp, { x }, { slope, dtype }).y;
}

/** max(x, 0), value by value. */
export const relu = (x: Tensor, dtype: DType = x.dtype): Tensor => leakyRelu(x, 0, dtype);

export const leakyReluOp: Op<{ x: Tensor }, Attrs, "y"> = {
  name: "leaky_relu",
  infer({ x }, { slope, dtype }) {
    assertSlope("leaky_relu", slope);
    if (!isFloat(x) || x.size % 4)
      throw new CogwheelError("leaky_relu", `x must be f32 or f16 with a multiple of 4 values, got ${x}; convert or pad it`);
    return { y: { shape: x.shape, dtype } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: y.size, bytes: x.bytes + y.bytes }),
  lower({ inputs: { x }, attrs: { slope }, outputs: { y } }, { caps }) {
    return rowWindows(caps, x.size / 4, [4 * bytesOf[x.dtype], 4 * bytesOf[y.dtype]]).map((rows) =>
      dispatch({
        kernel,
        types: { X: x.dtype, Y: y.dtype },
        params: { count4: rows.count, slope },
        bindings: { x: rowView(x, rows, 4), y: rowView(y, rows, 4) },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      }),
    );
  },
};
