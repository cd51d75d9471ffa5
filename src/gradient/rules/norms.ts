/** Gradients of norms over rows and heads. */
import { CogwheelError } from "../../base/errors.ts";
import type { RuleOf } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { embedding } from "../../ops/embedding.ts";
import { layerNormOp } from "../../ops/layer_norm.ts";
import { layerNormGradient } from "../../ops/layer_norm_gradient.ts";
import { layerNormGradientSums } from "../../ops/layer_norm_gradient_sums.ts";
import type { qkNormRopeOp } from "../../ops/qk_norm_rope.ts";
import { qkNormRopeGradient } from "../../ops/qk_norm_rope_gradient.ts";

export const layerNormRule: RuleOf<typeof layerNormOp> = {
  /** Rows that are asked for are first copied, so that only the copy's gradient goes back to where they lie. */
  plain({ x, source, ...rest }, attrs) {
    if (!source) return undefined;
    const rows = embedding(source, x.graph.reshape(x, [x.size / x.dim(-1), x.dim(-1)]), { dtype: x.dtype });
    return x.graph.record(layerNormOp, { x: rows, source: undefined, ...rest }, attrs);
  },
  gradient({ inputs: { x, weight, bias, table, rowOf }, attrs: { eps, width, onePlus, scaleFirst } }, { y: dy }, want) {
    const { dx, statistics } = layerNormGradient({ x, dy: dy!, weight, table, rowOf }, { eps, width, onePlus, scaleFirst });
    const of = { affine: want.has("weight") || want.has("bias"), table: want.has("table") };
    if (!of.affine && !of.table) return { x: dx };
    const sums = layerNormGradientSums({ x, dy: dy!, statistics, weight, bias, table, rowOf }, { width, onePlus, scaleFirst, of });
    return { x: dx, weight: sums.dweight, bias: sums.dbias, table: sums.dtable };
  },
};

export const qkNormRopeRule: RuleOf<typeof qkNormRopeOp> = {
  gradient({ inputs: { q, k, normQ, normK, rope, position }, attrs: { eps, rms } }, dy, want) {
    if (want.has("rope"))
      throw new CogwheelError("qk_norm_rope", `a table of rotations is fixed, got ${rope} to be trained; do not watch it`);
    const one = (x: Tensor, gradient: Tensor | undefined, norm: Tensor | undefined, ofNorm: boolean) =>
      gradient && qkNormRopeGradient({ x, dy: gradient, norm, rope, position }, { eps, rms, ofNorm });
    const [ofQ, ofK] = [one(q, dy.q, normQ, want.has("normQ")), one(k, dy.k, normK, want.has("normK"))];
    return { q: ofQ?.dx, k: ofK?.dx, normQ: ofQ?.dnorm, normK: ofK?.dnorm };
  },
};
