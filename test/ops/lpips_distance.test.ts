import { expect, test } from "vitest";
import { lpipsDistanceCases } from "../../src/check/sweep/cases/lpips_distance.ts";
import { Graph } from "../../src/graph/graph.ts";
import { lpipsDistance } from "../../src/ops/lpips_distance.ts";
import { gradientTests } from "../support/gradients.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(lpipsDistanceCases);
// A gradient has padded channels, and the values of a case have none.
gradientTests(lpipsDistanceCases, { cases: (c) => !c.limits && !/, (3|6|10)\]/.test(c.name) });

test("features of two shapes, and a head of other channels, are refused", () => {
  const g = new Graph("refused");
  const [a, b, w] = [g.input("a", [1, 1, 2, 2, 8]), g.input("b", [1, 1, 2, 2, 4]), g.input("w", [1, 4, 1, 1])];
  expect(() => lpipsDistance(a, b, w)).toThrow(/\[lpips_distance\] a and b must be f32 or f16 \[B, T, H, W, C\] of one shape and type/);
  expect(() => lpipsDistance(a, a, w)).toThrow(/\[lpips_distance\] the head must have an f32 value for each of 8 channels/);
});
