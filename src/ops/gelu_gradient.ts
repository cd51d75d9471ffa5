/** gelu_gradient: dx of GELU in its tanh approximation. Kernels: kernels/elementwise/. */
import { geluGradient as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

interface Inputs {
  x: Tensor;
  dy: Tensor;
}

/** x, and dy of its shape, f32 or f16 each, with a multiple of 4 values → dx, of the type of x. */
export function geluGradient(x: Tensor, dy: Tensor): Tensor {
  return x.graph.record(geluGradientOp, { x, dy }, { dtype: x.dtype }).dx;
}

export const geluGradientOp: Op<Inputs, { dtype: DType }, "dx"> = {
  name: "gelu_gradient",
  infer({ x, dy }, { dtype }) {
    if (x.shape.join() !== dy.shape.join() || !isFloat(x) || !isFloat(dy) || x.size % 4)
      throw new CogwheelError(
        "gelu_gradient",
        `x and dy must be f32 or f16 of one shape with a multiple of 4 values, got ${x} and ${dy}; reshape or convert them`,
      );
    return { dx: { shape: x.shape, dtype } };
  },
  mayTake: () => ({ dx: "dy" }),
  cost: ({ inputs: { x, dy }, outputs: { dx } }) => ({ flops: 20 * dx.size, bytes: x.bytes + dy.bytes + dx.bytes }),
  lower({ inputs: { x, dy }, outputs: { dx } }, { caps, inPlace }) {
    const row = [x, dy, dx].map(({ dtype }) => 4 * bytesOf[dtype]);
    return rowWindows(caps, x.size / 4, row).map((rows) =>
      dispatch({
        kernel,
        types: { X: x.dtype, G: dy.dtype, Y: dx.dtype },
        consts: { IN_PLACE: +inPlace },
        params: { count4: rows.count },
        bindings: { x: rowView(x, rows, 4), dy: rowView(inPlace ? x : dy, rows, 4), dx: rowView(dx, rows, 4) },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      }),
    );
  },
};
