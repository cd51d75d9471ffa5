import { expect, test } from "vitest";
import { leakyReluGradientCases } from "../../src/check/sweep/cases/leaky_relu_gradient.ts";
import { Graph } from "../../src/graph/graph.ts";
import { leakyReluGradient } from "../../src/ops/leaky_relu_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(leakyReluGradientCases);

test("a gradient of another shape is refused", () => {
  const g = new Graph("refused");
  expect(() => leakyReluGradient(g.input("y", [8]), g.input("dy", [4]), 0)).toThrow(/\[leaky_relu_gradient\] y and dy must be f32 or f16/);
});
