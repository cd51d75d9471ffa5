/** The gradient of attention, which reads what the forward pass keeps beside its result: the log-sum-exp of every query's scores. */
import { CogwheelError } from "../../base/errors.ts";
import type { RuleOf } from "../../graph/op.ts";
import { attentionOp } from "../../ops/attention.ts";
import { attentionGradient } from "../../ops/attention_gradient.ts";

export const attentionRule: RuleOf<typeof attentionOp> = {
  plain(inputs, attrs, watched) {
    if (inputs.bias)
      throw new CogwheelError(
        "attention",
        `a gradient goes only through attention without a bias, got ${inputs.bias}; train what comes after it, or leave the bias out`,
      );
    const { q, k, v } = inputs;
    if (attrs.lse || ![q, k, v].some(watched)) return undefined;
    return q.graph.record(attentionOp, inputs, { ...attrs, lse: true });
  },
  gradient({ inputs: { q, k, v, clips }, attrs: { scale, segments }, outputs: { y, lse } }, dy, want) {
    if (dy.lse)
      throw new CogwheelError("attention", `a gradient goes through the result alone, got ${dy.lse} of the log-sum-exp; leave it out`);
    return attentionGradient({ q, k, v, y, dy: dy.y!, lse, clips }, { scale, segments, want });
  },
};
