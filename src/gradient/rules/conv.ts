/**
 * The gradient of conv3d. Where one goes through it, its activation is recorded apart, for the gradient has to know what was before it.
 * Bias, residual, doubling, strides and borders stay fused.
 */
import type { RuleOf } from "../../graph/op.ts";
import { cast } from "../../ops/cast.ts";
import { columnSums } from "../../ops/column_sums.ts";
import { conv3dOp } from "../../ops/conv3d.ts";
import { conv3dGradientW } from "../../ops/conv3d_gradient_w.ts";
import { conv3dGradientX } from "../../ops/conv3d_gradient_x.ts";
import { silu } from "../../ops/silu.ts";

export const conv3dRule: RuleOf<typeof conv3dOp> = {
  plain(inputs, attrs) {
    if (attrs.activation === null) return undefined;
    const { y } = inputs.x.graph.record(conv3dOp, inputs, { ...attrs, activation: null });
    return { y: silu(y, attrs.dtype) };
  },
  gradient({ inputs: { x, w, bias, cache }, attrs: conv }, { y: dy }, want) {
    // Two operands in f16 have a gradient in f16 between them, for the same kernels: losses are scaled for that.
    const half = x.dtype === "f16" && w.dtype === "f16";
    const factor = half && (want.has("x") || want.has("w") || want.has("cache")) ? cast(dy!, "f16") : dy!;
    const front = cache ? "cache" : conv.zeroFrames ? "zeros" : "repeat";
    const of = (operand: "x" | "cache") => conv3dGradientX(factor, w, { conv, shape: x.shape, front, of: operand, dtype: x.dtype });
    return {
      // First what reads x, which may be read for the last time here, and its memory is free when dx is made.
      ...(want.has("w") ? { w: conv3dGradientW({ x, dy: factor, cache }, { conv, shape: w.shape }) } : {}),
      ...(want.has("x") ? { x: of("x") } : {}),
      ...(cache && want.has("cache") ? { cache: of("cache") } : {}),
      ...(bias && want.has("bias") ? { bias: columnSums(dy!, bias.size) } : {}),
      ...(want.has("residual") ? { residual: cast(dy!, "f32") } : {}),
    };
  },
};
