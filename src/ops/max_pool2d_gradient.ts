/** max_pool2d_gradient: dx of max_pool2d; of equal values the first by row and column has been the largest. Kernels: kernels/resample/. */
import { maxPool2dGradient as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { wrap } from "../plan/windows.ts";
import type { MaxPool2dAttrs } from "./max_pool2d.ts";
import { pictureParts } from "./pool/pictures.ts";

interface Attrs extends MaxPool2dAttrs {
  readonly dtype: DType;
}

/** x and y of max_pool2d, dy of the shape of y → dx of the shape of x. `dtype`: default that of x. */
export function maxPool2dGradient(x: Tensor, y: Tensor, dy: Tensor, attrs: MaxPool2dAttrs & { readonly dtype?: DType }): Tensor {
  return x.graph.record(maxPool2dGradientOp, { x, y, dy }, { dtype: x.dtype, ...attrs }).dx;
}

export const maxPool2dGradientOp: Op<{ x: Tensor; y: Tensor; dy: Tensor }, Attrs, "dx"> = {
  name: "max_pool2d_gradient",
  infer({ x, y, dy }, { dtype }) {
    if (y.shape.join() !== dy.shape.join() || !isFloat(dy) || x.dtype !== y.dtype)
      throw new CogwheelError(
        "max_pool2d_gradient",
        `dy must be f32 or f16 of the shape of y, and y of the type of x, got ${dy}, ${y} and ${x}; reshape or convert them`,
      );
    return { dx: { shape: x.shape, dtype } };
  },
  cost: ({ inputs: { x, y, dy }, attrs: { kernel: k }, outputs: { dx } }) => ({
    flops: k * k * y.size,
    bytes: x.bytes + y.bytes + dy.bytes + dx.bytes,
  }),
  lower({ inputs: { x, y, dy }, attrs: { kernel: K, stride: S }, outputs: { dx } }, { caps }) {
    const [c4, wide, rows] = [x.dim(-1) / 4, x.dim(3), y.dim(2)];
    const inside = (row: number): number => Math.max(0, Math.min(rows - 1, row));
    /** Windows that hold a row, or the nearest where none does. */
    const windows = (row: number) => [inside(Math.ceil((row - K + 1) / S)), inside(Math.floor(row / S))] as const;
    const reads = [
      { tensor: x, under: (row: number) => [Math.max(0, row - K + 1), row] as const },
      { tensor: y, under: windows },
      { tensor: dy, under: windows },
    ];
    return pictureParts("max_pool2d_gradient", dx, reads, caps).map((part) => {
      const count = part.count * wide * c4;
      const [fromX, fromY, fromDy] = part.read;
      return dispatch({
        kernel,
        bindings: { x: fromX!.view, y: fromY!.view, dy: fromDy!.view, dx: part.written.view },
        params: {
          count,
          first: part.start * wide * c4,
          c4,
          h_in: x.dim(2),
          w_in: wide,
          h_out: rows,
          w_out: y.dim(3),
          x_base: wrap(fromX!.base),
          y_base: wrap(fromY!.base),
          dy_base: wrap(fromDy!.base),
          dx_base: wrap(part.written.base),
        },
        types: { X: x.dtype, G: dy.dtype, Y: dx.dtype },
        consts: { K, S },
        grid: foldGrid(Math.ceil(count / kernel.overrides.WG), caps),
      });
    });
  },
};
