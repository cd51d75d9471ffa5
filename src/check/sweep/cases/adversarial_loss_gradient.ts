/** adversarial_loss_gradient: every side, fewer scores than lanes and more. */
import { adversarialLossGradient as kernel } from "#kernels";
import type { AdversarialSide } from "../../../ops/adversarial_loss.ts";
import { adversarialLossGradient } from "../../../ops/adversarial_loss_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** The first of every four is a score. */
export const adversarialLossGradientReference = (side: AdversarialSide, { scores, dy }: Values): Float64Array =>
  Float64Array.from(scores!, (s, i) => {
    const slope = side === "generator" ? -1 : side === "real" ? -+(s < 1) : +(s > -1);
    return i % 4 ? 0 : (slope * dy![0]!) / (scores!.length / 4);
  });

function one(size: Size, shape: readonly number[], side: AdversarialSide, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}], ${side}`,
    half: [],
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      dx: adversarialLossGradient(draw.input("scores", [...shape, 4], { scale: 2, offset: 0.3 }), draw.input("dy", [1]), side),
    }),
    reference: (values) => ({ dx: adversarialLossGradientReference(side, values) }),
  };
}

export const adversarialLossGradientCases: OpCases = {
  op: "adversarial_loss_gradient",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", [1], "real"),
    one("odd", [1, 2, 3, 7], "generator"),
    one("odd", [2, 3, 5, 9], "made", { maxGrid: 3 }),
    one("odd", [1, 1, 9, 9], "real"),
    one("model", [1, 5, 30, 30], "made"),
  ],
};
