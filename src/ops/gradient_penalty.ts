/** gradient_penalty: what the length of a gradient costs, and that cost's own gradient, by sample. Kernels: kernels/loss/. */
import { gradientPenalty as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch } from "../plan/dispatch.ts";

interface Inputs {
  sums: Tensor;
  settings: Tensor;
}

/**
 * What the length of each sample's gradient costs, and by what the gradient is scaled to be that cost's own.
 * @param sums of each sample's gradient g: what `groupNormGradientSums` gives of g with itself, with mean 0 and rstd 1, [B, slices, 3, C]
 * @param settings f32 [4]: weight, target, share, 0
 * @returns `loss` [B], share · (‖g‖ − target)², and `factors` [B, 4], by which g is scaled: weight · (1 − target / ‖g‖), in four columns;
 * so its own gradient with respect to g where weight is 2 · share. 0 where ‖g‖ is, as torch has it.
 */
export function gradientPenalty(sums: Tensor, settings: Tensor): { loss: Tensor; factors: Tensor } {
  return sums.graph.record(gradientPenaltyOp, { sums, settings }, {});
}

export const gradientPenaltyOp: Op<Inputs, object, "loss" | "factors"> = {
  name: "gradient_penalty",
  infer({ sums, settings }) {
    if (sums.shape.length !== 4 || sums.dim(2) !== 3 || sums.dim(3) % 4 || sums.dtype !== "f32" || settings.size !== 4)
      throw new CogwheelError(
        "gradient_penalty",
        `sums must be f32 [B, slices, 3, C], as group_norm_gradient_sums gives them, and settings f32 [4], got ${sums} and ${settings}`,
      );
    return { loss: { shape: [sums.dim(0)], dtype: "f32" }, factors: { shape: [sums.dim(0), 4], dtype: "f32" } };
  },
  cost: ({ inputs: { sums } }) => ({ flops: sums.size, bytes: sums.bytes }),
  lower({ inputs: { sums, settings }, outputs: { loss, factors } }) {
    return [
      dispatch({
        kernel,
        params: { slices: sums.dim(1), c4: sums.dim(3) / 4 },
        bindings: { sums, settings, y: factors, loss },
        grid: [sums.dim(0), 1, 1],
      }),
    ];
  },
};
