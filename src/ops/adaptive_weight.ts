/** adaptive_weight: how much an adversarial loss counts beside a reconstruction's, by the norms of their gradients. Kernels: kernels/loss/. */
import { adaptiveWeight as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch } from "../plan/dispatch.ts";

interface Inputs {
  ofRec: Tensor;
  ofGen: Tensor;
  settings: Tensor;
}

/**
 * λ = clamp(‖∂rec/∂w‖ / (‖∂g/∂w‖ + eps), 0, most), 0 where a gradient is not finite.
 * @param ofRec, ofGen what `squareSum` gave of both gradients
 * @param settings f32 [4]: one over the scale of both gradients, the loss's weight, most, eps
 * @returns f32 [4]: weight · λ, λ, ‖∂rec/∂w‖, ‖∂g/∂w‖
 */
export function adaptiveWeight(ofRec: Tensor, ofGen: Tensor, settings: Tensor): Tensor {
  return ofRec.graph.record(adaptiveWeightOp, { ofRec, ofGen, settings }, {}).y;
}

export const adaptiveWeightOp: Op<Inputs, object, "y"> = {
  name: "adaptive_weight",
  infer({ ofRec, ofGen, settings }) {
    if (ofRec.shape.length !== 2 || ofRec.dim(0) !== 2 || ofRec.shape.join() !== ofGen.shape.join() || settings.size !== 4)
      throw new CogwheelError(
        "adaptive_weight",
        `sums must be f32 [2, partials] each, as square_sum gives them, and settings f32 [4], got ${ofRec}, ${ofGen} and ${settings}`,
      );
    return { y: { shape: [4], dtype: "f32" } };
  },
  cost: ({ inputs: { ofRec, ofGen } }) => ({ flops: 2 * ofRec.size, bytes: ofRec.bytes + ofGen.bytes }),
  lower({ inputs: { ofRec, ofGen, settings }, outputs: { y } }) {
    return [
      dispatch({
        kernel,
        params: { partials: ofRec.dim(1) },
        bindings: { of_rec: ofRec, of_gen: ofGen, settings, y },
        grid: [1, 1, 1],
      }),
    ];
  },
};
