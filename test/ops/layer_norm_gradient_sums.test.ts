import { expect, test } from "vitest";
import { layerNormGradientSumsCases } from "../../src/check/sweep/cases/layer_norm_gradient_sums.ts";
import { Graph } from "../../src/graph/graph.ts";
import { layerNormGradientSums } from "../../src/ops/layer_norm_gradient_sums.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(layerNormGradientSumsCases);

test("gradients of operands that the norm does not have are refused", () => {
  const graph = new Graph("refused");
  const [x, statistics] = [graph.input("x", [2, 8]), graph.input("statistics", [2, 2])];
  const none = { weight: undefined, bias: undefined, table: undefined, rowOf: undefined };
  const attrs = { width: 8, onePlus: true, scaleFirst: false };
  expect(() => layerNormGradientSums({ x, dy: x, statistics, ...none }, { ...attrs, of: { affine: true, table: false } })).toThrow(
    /\[layer_norm_gradient_sums\] gradients must be asked for of operands that are there/,
  );
});
