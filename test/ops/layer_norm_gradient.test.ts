import { expect, test } from "vitest";
import { layerNormGradientCases } from "../../src/check/sweep/cases/layer_norm_gradient.ts";
import { Graph } from "../../src/graph/graph.ts";
import { layerNormGradient } from "../../src/ops/layer_norm_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(layerNormGradientCases);

test("a gradient of another shape, and a modulation of another norm, are refused", () => {
  const graph = new Graph("refused");
  const [x, dy, table] = [graph.input("x", [2, 8]), graph.input("dy", [8, 2]), graph.input("table", [2, 4])];
  const attrs = { eps: 1e-5, width: 8, onePlus: true, scaleFirst: false };
  const none = { weight: undefined, table: undefined, rowOf: undefined };
  expect(() => layerNormGradient({ x, dy, ...none }, attrs)).toThrow(/\[layer_norm_gradient\] x and dy must be f32 or f16 of one shape/);
  expect(() => layerNormGradient({ x, dy: x, ...none, table }, attrs)).toThrow(
    /\[layer_norm_gradient\] weight and modulation must be those of the norm/,
  );
});
