import { expect, test } from "vitest";
import { lpipsDistanceGradientCases } from "../../src/check/sweep/cases/lpips_distance_gradient.ts";
import { Graph } from "../../src/graph/graph.ts";
import { lpipsDistanceGradient } from "../../src/ops/lpips_distance_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(lpipsDistanceGradientCases);

test("a gradient for another number of pictures is refused", () => {
  const g = new Graph("refused");
  const a = g.input("a", [1, 2, 2, 2, 4]);
  const of = { a, b: a, w: g.input("w", [1, 4, 1, 1]), dy: g.input("dy", [1]), inverse: g.input("inverse", [2, 4, 2]) };
  expect(() => lpipsDistanceGradient(of, "a")).toThrow(/\[lpips_distance_gradient\] dy must be f32 with a value for each of 2 pictures/);
});
