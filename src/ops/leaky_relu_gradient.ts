/** leaky_relu_gradient: dx of leaky_relu, from its result, so that what went into it need not be kept. Kernels: kernels/elementwise/. */
import { leakyReluGradient as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { assertSlope } from "./leaky_relu.ts";

/** y of leaky_relu, and dy of its shape, f32 or f16 each, with a multiple of 4 values → dx of that shape. `dtype`: default that of y. */
export function leakyReluGradient(y: Tensor, dy: Tensor, slope: number, dtype: DType = y.dtype): Tensor {
  return y.graph.record(leakyReluGradientOp, { y, dy }, { slope, dtype }).dx;
}

export const leakyReluGradientOp: Op<{ y: Tensor; dy: Tensor }, { slope: number; dtype: DType }, "dx"> = {
  name: "leaky_relu_gradient",
  infer({ y, dy }, { slope, dtype }) {
    assertSlope("leaky_relu_gradient", slope);
    if (y.shape.join() !== dy.shape.join() || !isFloat(y) || !isFloat(dy) || y.size % 4)
      throw new CogwheelError(
        "leaky_relu_gradient",
        `y and dy must be f32 or f16 of one shape with a multiple of 4 values, got ${y} and ${dy}; reshape or convert them`,
      );
    return { dx: { shape: y.shape, dtype } };
  },
  mayTake: () => ({ dx: "dy" }),
  cost: ({ inputs: { y, dy }, outputs: { dx } }) => ({ flops: dx.size, bytes: y.bytes + dy.bytes + dx.bytes }),
  lower({ inputs: { y, dy }, attrs: { slope }, outputs: { dx } }, { caps, inPlace }) {
    const row = [y, dy, dx].map(({ dtype }) => 4 * bytesOf[dtype]);
    return rowWindows(caps, y.size / 4, row).map((rows) =>
      dispatch({
        kernel,
        types: { X: y.dtype, G: dy.dtype, Y: dx.dtype },
        consts: { IN_PLACE: +inPlace },
        params: { count4: rows.count, slope },
        bindings: { y: rowView(y, rows, 4), dy: rowView(inPlace ? y : dy, rows, 4), dx: rowView(dx, rows, 4) },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      }),
    );
  },
};
