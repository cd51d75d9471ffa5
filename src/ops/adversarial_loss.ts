/** adversarial_loss: the hinge loss of a discriminator's scores, for either side. Kernels: kernels/loss/. */
import { adversarialLoss as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { assertKnown } from "../graph/known-name.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch } from "../plan/dispatch.ts";

/** `real`: mean relu(1 − s) · `made`: mean relu(1 + s) · `generator`: −mean s, by which what is made is to look real. */
export const SIDES = ["real", "made", "generator"] as const;
/** Whose loss it is: the discriminator's on real clips or on made ones, or the generator's. */
export type AdversarialSide = (typeof SIDES)[number];

/** Scores [..., 4] f32, one channel padded → f32 [1]. */
export function adversarialLoss(scores: Tensor, side: AdversarialSide): Tensor {
  return scores.graph.record(adversarialLossOp, { scores }, { side }).y;
}

/** Refuses what are no scores, and a side that there is not. */
export function assertScores(op: string, scores: Tensor, side: AdversarialSide): void {
  assertKnown(op, "the side", side, SIDES);
  if (scores.dtype !== "f32" || scores.dim(-1) !== 4)
    throw new CogwheelError(op, `scores must be f32 [..., 4], one channel padded, got ${scores}; give what a discriminator gave`);
}

export const adversarialLossOp: Op<{ scores: Tensor }, { side: AdversarialSide }, "y"> = {
  name: "adversarial_loss",
  infer({ scores }, { side }) {
    assertScores("adversarial_loss", scores, side);
    return { y: { shape: [1], dtype: "f32" } };
  },
  cost: ({ inputs: { scores } }) => ({ flops: scores.size / 2, bytes: scores.bytes }),
  lower({ inputs: { scores }, attrs: { side }, outputs: { y } }) {
    const count = scores.size / 4;
    return [
      dispatch({
        kernel,
        consts: { SIDE: SIDES.indexOf(side) },
        params: { count, share: 1 / count },
        bindings: { scores, y },
        grid: [1, 1, 1],
      }),
    ];
  },
};
