import { expect, test } from "vitest";
import { siluGradientCases } from "../../src/check/sweep/cases/silu_gradient.ts";
import { Graph } from "../../src/graph/graph.ts";
import { siluGradient } from "../../src/ops/silu_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(siluGradientCases);

test("a gradient of another shape is refused", () => {
  const g = new Graph("refused");
  expect(() => siluGradient(g.input("x", [8]), g.input("dy", [4]))).toThrow(/\[silu_gradient\] x and dy must be f32 or f16 of one shape/);
});
