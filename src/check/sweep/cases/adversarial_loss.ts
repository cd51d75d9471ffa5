/** adversarial_loss: every side, fewer scores than lanes and more. */
import { adversarialLoss as kernel } from "#kernels";
import { type AdversarialSide, adversarialLoss } from "../../../ops/adversarial_loss.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** The first of every four is a score. */
export function adversarialLossReference(side: AdversarialSide, { scores }: Values): number {
  const own = scores!.filter((_, i) => i % 4 === 0);
  return own.reduce((sum, s) => sum + (side === "generator" ? -s : Math.max(0, side === "real" ? 1 - s : 1 + s)), 0) / own.length;
}

function one(size: Size, shape: readonly number[], side: AdversarialSide): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}], ${side}`,
    half: [],
    record: (draw) => ({ y: adversarialLoss(draw.input("scores", [...shape, 4], { scale: 2, offset: 0.3 }), side) }),
    reference: (values) => ({ y: [adversarialLossReference(side, values)] }),
  };
}

export const adversarialLossCases: OpCases = {
  op: "adversarial_loss",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", [1], "real"),
    one("odd", [1, 2, 3, 7], "generator"),
    one("odd", [2, 3, 5, 9], "made"),
    one("odd", [1, 1, 9, 9], "real"),
    one("model", [1, 5, 30, 30], "made"),
  ],
};
