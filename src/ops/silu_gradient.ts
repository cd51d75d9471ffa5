/** silu_gradient: dx of y = x · sigmoid(x). Kernels: kernels/elementwise/. */
import { siluGradient as kernel } from "#kernels";
import type { Tensor } from "../graph/tensor.ts";
import { activationGradientOp } from "./elementwise/unary.ts";

/** x, and dy of its shape, f32 or f16 each → dx, of the type of x. */
export function siluGradient(x: Tensor, dy: Tensor): Tensor {
  return x.graph.record(siluGradientOp, { x, dy }, { dtype: x.dtype }).dx;
}

export const siluGradientOp = activationGradientOp("silu_gradient", kernel, 8);
