/** gelu: GELU in its tanh approximation, apart from the product that it follows. Kernels: kernels/elementwise/. */
import { gelu as kernel } from "#kernels";
import type { DType } from "../graph/dtype.ts";
import type { Tensor } from "../graph/tensor.ts";
import { activationOp } from "./elementwise/unary.ts";

/** x f32 or f16 → the same shape. `dtype`: default that of x. */
export function gelu(x: Tensor, dtype: DType = x.dtype): Tensor {
  return x.graph.record(geluOp, { x }, { dtype }).y;
}

export const geluOp = activationOp("gelu", kernel, 12);
