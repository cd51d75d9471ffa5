/** running_affine: a batch norm by what it remembers of its batches, as a scale and a shift of each channel. Kernels: kernels/norm/. */
import { runningAffine as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch } from "../plan/dispatch.ts";

interface Inputs {
  mean: Tensor;
  variance: Tensor;
  a: Tensor;
  b: Tensor;
}

interface Attrs {
  eps: number;
  back: boolean;
}

/** mean, variance, weight and bias f32 [C] → scale = weight / √(variance + eps) and shift = bias − mean · scale. */
export function runningAffine(mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: number): { scale: Tensor; shift: Tensor } {
  return mean.graph.record(runningAffineOp, { mean, variance, a: weight, b: bias }, { eps, back: false });
}

/** The gradients with respect to weight and bias, from those of scale and shift. */
export function runningAffineGradient(
  { mean, variance }: Pick<Inputs, "mean" | "variance">,
  dscale: Tensor,
  dshift: Tensor,
  eps: number,
): { weight: Tensor; bias: Tensor } {
  const { scale, shift } = mean.graph.record(runningAffineOp, { mean, variance, a: dscale, b: dshift }, { eps, back: true });
  return { weight: scale, bias: shift };
}

export const runningAffineOp: Op<Inputs, Attrs, "scale" | "shift"> = {
  name: "running_affine",
  infer(inputs) {
    const c = inputs.mean.size;
    for (const one of Object.values(inputs) as Tensor[])
      if (one.size !== c || one.dtype !== "f32")
        throw new CogwheelError(
          "running_affine",
          `mean, variance, weight and bias must be f32 [${c}], got ${one}; check the weight's name`,
        );
    return { scale: { shape: [c], dtype: "f32" }, shift: { shape: [c], dtype: "f32" } };
  },
  cost: ({ inputs: { mean } }) => ({ flops: 6 * mean.size, bytes: 6 * mean.bytes }),
  lower({ inputs, attrs: { eps, back }, outputs }) {
    const channels = inputs.mean.size;
    return [
      dispatch({
        kernel,
        consts: { BACK: +back },
        params: { channels, eps },
        bindings: { ...inputs, ...outputs },
        grid: [Math.ceil(channels / kernel.overrides.WG), 1, 1],
      }),
    ];
  },
};
