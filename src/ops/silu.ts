/** silu: x · sigmoid(x), for the small tensors that no matmul's epilogue covers. Kernels: kernels/elementwise/. */
import { silu as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { siluGradient } from "./silu_gradient.ts";

/** x f32 → the same shape, f32. */
export function silu(x: Tensor): Tensor {
  return x.graph.record(siluOp, { x }, {}).y;
}

export const siluOp: Op<{ x: Tensor }, object, "y"> = {
  name: "silu",
  infer({ x }) {
    if (x.dtype !== "f32" || x.size % 4) throw new CogwheelError("silu", `x must be f32 with a multiple of 4 values, got ${x}`);
    return { y: { shape: x.shape, dtype: "f32" } };
  },
  gradient: ({ inputs: { x } }, { y }) => ({ x: siluGradient(x, y!) }),
  cost: ({ outputs: { y } }) => ({ flops: 4 * y.size, bytes: 2 * y.bytes }),
  lower({ inputs: { x }, outputs: { y } }, { caps }) {
    return [dispatch({ kernel, params: { count4: x.size / 4 }, bindings: { x, y }, grid: foldGrid(Math.ceil(x.size / 256), caps) })];
  },
};
