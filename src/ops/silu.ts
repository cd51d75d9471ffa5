/** silu: x · sigmoid(x), for the small tensors that no matmul's epilogue covers. Kernels: kernels/elementwise/. */
import { silu as kernel } from "#kernels";
import type { DType } from "../graph/dtype.ts";
import type { Tensor } from "../graph/tensor.ts";
import { activationOp } from "./elementwise/unary.ts";

/** x f32 or f16 → the same shape. `dtype`: default that of x. */
export function silu(x: Tensor, dtype: DType = x.dtype): Tensor {
  return x.graph.record(siluOp, { x }, { dtype }).y;
}

export const siluOp = activationOp("silu", kernel, 4);
