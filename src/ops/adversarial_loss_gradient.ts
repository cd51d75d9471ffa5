/** adversarial_loss_gradient: what adversarial_loss gives back to the scores. Kernels: kernels/loss/. */
import { adversarialLossGradient as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { type AdversarialSide, assertScores, SIDES } from "./adversarial_loss.ts";

/** Scores [..., 4] f32, dy f32 [1] → the gradient with respect to the scores, in their shape. */
export function adversarialLossGradient(scores: Tensor, dy: Tensor, side: AdversarialSide): Tensor {
  return scores.graph.record(adversarialLossGradientOp, { scores, dy }, { side }).dx;
}

export const adversarialLossGradientOp: Op<{ scores: Tensor; dy: Tensor }, { side: AdversarialSide }, "dx"> = {
  name: "adversarial_loss_gradient",
  infer({ scores, dy }, { side }) {
    assertScores("adversarial_loss_gradient", scores, side);
    if (dy.dtype !== "f32" || dy.size !== 1)
      throw new CogwheelError("adversarial_loss_gradient", `dy must be f32 [1], got ${dy}; give the gradient of the loss`);
    return { dx: { shape: scores.shape, dtype: "f32" } };
  },
  cost: ({ inputs: { scores }, outputs: { dx } }) => ({ flops: scores.size / 2, bytes: scores.bytes + dx.bytes }),
  lower({ inputs: { scores, dy }, attrs: { side }, outputs: { dx } }, { caps }) {
    const count = scores.size / 4;
    return [
      dispatch({
        kernel,
        consts: { SIDE: SIDES.indexOf(side) },
        params: { count, share: 1 / count },
        bindings: { scores, dy, dx },
        grid: foldGrid(Math.ceil(count / 64), caps),
      }),
    ];
  },
};
