/** Gradients of what image networks and losses on them are made of besides convolutions and norms. */
import { CogwheelError } from "../../base/errors.ts";
import type { RuleOf } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { adversarialLossOp } from "../../ops/adversarial_loss.ts";
import { adversarialLossGradient } from "../../ops/adversarial_loss_gradient.ts";
import type { blurPoolOp } from "../../ops/blur_pool.ts";
import { blurPoolGradient } from "../../ops/blur_pool_gradient.ts";
import { channelAffine, type channelAffineOp } from "../../ops/channel_affine.ts";
import { columnSums } from "../../ops/column_sums.ts";
import { gatedAddGradient } from "../../ops/gated_add_gradient.ts";
import type { leakyReluOp } from "../../ops/leaky_relu.ts";
import { leakyReluGradient, type leakyReluGradientOp } from "../../ops/leaky_relu_gradient.ts";
import type { lpipsDistanceOp } from "../../ops/lpips_distance.ts";
import { lpipsDistanceGradient } from "../../ops/lpips_distance_gradient.ts";
import { lpipsDistanceHead } from "../../ops/lpips_distance_head.ts";
import type { maxPool2dOp } from "../../ops/max_pool2d.ts";
import { maxPool2dGradient } from "../../ops/max_pool2d_gradient.ts";
import { runningAffineGradient, type runningAffineOp } from "../../ops/running_affine.ts";

export const leakyReluRule: RuleOf<typeof leakyReluOp> = {
  gradient: ({ inputs: { x }, attrs: { slope }, outputs: { y } }, { y: dy }) => ({ x: leakyReluGradient(y, dy!, slope, x.dtype) }),
};

/** Linear in dy; the slope, which y decides, is the same all around it. */
export const leakyReluGradientRule: RuleOf<typeof leakyReluGradientOp> = {
  gradient: ({ inputs: { y, dy }, attrs: { slope } }, { dx }) => ({ dy: leakyReluGradient(y, dx!, slope, dy.dtype) }),
};

export const maxPool2dRule: RuleOf<typeof maxPool2dOp> = {
  gradient: ({ inputs: { x }, attrs, outputs: { y } }, { y: dy }) => ({ x: maxPool2dGradient(x, y, dy!, attrs) }),
};

export const blurPoolRule: RuleOf<typeof blurPoolOp> = {
  gradient: ({ inputs: { x } }, { y: dy }) => ({ x: blurPoolGradient(dy!, { shape: x.shape, dtype: x.dtype }) }),
};

export const channelAffineRule: RuleOf<typeof channelAffineOp> = {
  gradient({ inputs: { x, scale, shift } }, { y: dy }, want) {
    const { graph } = x;
    const positions = x.size / x.dim(-1);
    // A scale is a table of one row, which every position names.
    const rows = () => graph.constant("rows", new Uint32Array(positions));
    const columns = (tensor: Tensor) => graph.reshape(tensor, [positions, x.dim(-1)]);
    const ofScale = () => columnSums(gatedAddGradient(columns(x), columns(dy!), rows(), [1, x.dim(-1)]), scale.size);
    return {
      ...(want.has("x") ? { x: channelAffine(dy!, scale, undefined, x.dtype) } : {}),
      ...(want.has("scale") ? { scale: ofScale() } : {}),
      ...(shift && want.has("shift") ? { shift: columnSums(dy!, shift.size) } : {}),
    };
  },
};

export const lpipsDistanceRule: RuleOf<typeof lpipsDistanceOp> = {
  gradient({ inputs: { a, b, w }, outputs: { inverse } }, { y: dy }, want) {
    const of = { a, b, w, dy: dy!, inverse };
    return {
      ...(want.has("a") ? { a: lpipsDistanceGradient(of, "a") } : {}),
      ...(want.has("b") ? { b: lpipsDistanceGradient(of, "b") } : {}),
      ...(want.has("w") ? { w: lpipsDistanceHead(of) } : {}),
      ...(want.has("before") ? { before: dy } : {}),
    };
  },
};

export const adversarialLossRule: RuleOf<typeof adversarialLossOp> = {
  gradient: ({ inputs: { scores }, attrs: { side } }, { y: dy }) => ({ scores: adversarialLossGradient(scores, dy!, side) }),
};

export const runningAffineRule: RuleOf<typeof runningAffineOp> = {
  gradient({ inputs: { mean, variance, a }, attrs: { eps } }, { scale, shift }, want) {
    if (want.has("mean") || want.has("variance"))
      throw new CogwheelError("running_affine", `running statistics are not trained, got ${mean} to be; do not watch it`);
    const zeros = () => a.graph.constant("zeros", new Float32Array(a.size));
    const { weight, bias } = runningAffineGradient({ mean, variance }, scale ?? zeros(), shift ?? zeros(), eps);
    return { a: weight, b: bias };
  },
};
