/** transpose: rows of a matrix as columns. Kernels: kernels/layout/. */
import { transpose as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";

/** x [R, C], f32 or f16 → [C, R]. */
export function transpose(x: Tensor): Tensor {
  return x.graph.record(transposeOp, { x }, {}).y;
}

export const transposeOp: Op<{ x: Tensor }, object, "y"> = {
  name: "transpose",
  infer({ x }) {
    if (!isFloat(x) || x.shape.length !== 2)
      throw new CogwheelError("transpose", `x must be an f32 or f16 matrix, got ${x}; reshape or convert it`);
    return { y: { shape: [x.dim(1), x.dim(0)], dtype: x.dtype } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: 0, bytes: x.bytes + y.bytes }),
  lower({ inputs: { x }, outputs: { y } }, { caps }) {
    if (x.bytes > caps.maxBindingBytes)
      throw new CogwheelError("transpose", `x must fit a binding of ${caps.maxBindingBytes} bytes, got ${x}; transpose it in parts`);
    const [rows, columns] = [x.dim(0), x.dim(1)];
    return [
      dispatch({
        kernel,
        types: { X: x.dtype },
        params: { rows, columns },
        bindings: { x, y },
        grid: foldGrid(Math.ceil(rows / 32) * Math.ceil(columns / 32), caps),
      }),
    ];
  },
};
