/** Gradients of what image networks are made of besides convolutions: rectifiers and pools. */
import type { RuleOf } from "../../graph/op.ts";
import type { blurPoolOp } from "../../ops/blur_pool.ts";
import { blurPoolGradient } from "../../ops/blur_pool_gradient.ts";
import type { leakyReluOp } from "../../ops/leaky_relu.ts";
import { leakyReluGradient } from "../../ops/leaky_relu_gradient.ts";
import type { maxPool2dOp } from "../../ops/max_pool2d.ts";
import { maxPool2dGradient } from "../../ops/max_pool2d_gradient.ts";

export const leakyReluRule: RuleOf<typeof leakyReluOp> = {
  gradient: ({ inputs: { x }, attrs: { slope }, outputs: { y } }, { y: dy }) => ({ x: leakyReluGradient(y, dy!, slope, x.dtype) }),
};

export const maxPool2dRule: RuleOf<typeof maxPool2dOp> = {
  gradient: ({ inputs: { x }, attrs, outputs: { y } }, { y: dy }) => ({ x: maxPool2dGradient(x, y, dy!, attrs) }),
};

export const blurPoolRule: RuleOf<typeof blurPoolOp> = {
  gradient: ({ inputs: { x } }, { y: dy }) => ({ x: blurPoolGradient(dy!, { shape: x.shape, dtype: x.dtype }) }),
};
