/** silu: x · sigmoid(x), for the small tensors that no matmul's epilogue covers. Kernels: kernels/elementwise/. */
import { silu as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

/** x f32 or f16 with a multiple of 4 values → the same shape. `dtype`: default that of x. */
export function silu(x: Tensor, dtype: DType = x.dtype): Tensor {
  return x.graph.record(siluOp, { x }, { dtype }).y;
}

export const siluOp: Op<{ x: Tensor }, { dtype: DType }, "y"> = {
  name: "silu",
  infer({ x }, { dtype }) {
    if (!isFloat(x) || x.size % 4)
      throw new CogwheelError("silu", `x must be f32 or f16 with a multiple of 4 values, got ${x}; convert or pad it`);
    return { y: { shape: x.shape, dtype } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: 4 * y.size, bytes: x.bytes + y.bytes }),
  lower({ inputs: { x }, outputs: { y } }, { caps }) {
    return rowWindows(caps, x.size / 4, [4 * bytesOf[x.dtype], 4 * bytesOf[y.dtype]]).map((rows) =>
      dispatch({
        kernel,
        types: { X: x.dtype, Y: y.dtype },
        params: { count4: rows.count },
        bindings: { x: rowView(x, rows, 4), y: rowView(y, rows, 4) },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      }),
    );
  },
};
