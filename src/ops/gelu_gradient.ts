/** gelu_gradient: dx of GELU in its tanh approximation. Kernels: kernels/elementwise/. */
import { geluGradient as kernel } from "#kernels";
import type { Tensor } from "../graph/tensor.ts";
import { activationGradientOp } from "./elementwise/unary.ts";

/** x, and dy of its shape, f32 or f16 each → dx, of the type of x. */
export function geluGradient(x: Tensor, dy: Tensor): Tensor {
  return x.graph.record(geluGradientOp, { x, dy }, { dtype: x.dtype }).dx;
}

export const geluGradientOp = activationGradientOp("gelu_gradient", kernel, 20);
