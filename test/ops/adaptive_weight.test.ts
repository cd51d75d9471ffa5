import { expect, test } from "vitest";
import { adaptiveWeightCases } from "../../src/check/sweep/cases/adaptive_weight.ts";
import { Graph } from "../../src/graph/graph.ts";
import { adaptiveWeight } from "../../src/ops/adaptive_weight.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(adaptiveWeightCases);

test("sums of two sizes are refused", () => {
  const g = new Graph("refused");
  expect(() => adaptiveWeight(g.input("a", [2, 4]), g.input("b", [2, 8]), g.input("settings", [4]))).toThrow(
    /\[adaptive_weight\] sums must be f32 \[2, partials\] each/,
  );
});
