import { expect, test } from "vitest";
import { qkNormRopeGradientCases } from "../../src/check/sweep/cases/qk_norm_rope_gradient.ts";
import { Graph } from "../../src/graph/graph.ts";
import { qkNormRopeGradient } from "../../src/ops/qk_norm_rope_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(qkNormRopeGradientCases);

test("the gradient of a norm that is not there, and of another shape, are refused", () => {
  const graph = new Graph("refused");
  const x = graph.input("x", [2, 3, 8]);
  const none = { norm: undefined, rope: undefined, position: undefined };
  const attrs = { eps: 1e-6, rms: false, ofNorm: true };
  expect(() => qkNormRopeGradient({ x, dy: x, ...none }, attrs)).toThrow(/\[qk_norm_rope_gradient\] norm and rope must be those/);
  expect(() => qkNormRopeGradient({ x, dy: graph.input("dy", [3, 2, 8]), ...none }, attrs)).toThrow(
    /\[qk_norm_rope_gradient\] x and dy must be f32 or f16 \[N, R, D\] of one shape/,
  );
});
