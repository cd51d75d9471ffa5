import { expect, test } from "vitest";
import { gradientPenaltyCases } from "../../src/check/sweep/cases/gradient_penalty.ts";
import { Graph } from "../../src/graph/graph.ts";
import { gradientPenalty } from "../../src/ops/gradient_penalty.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(gradientPenaltyCases);

test("sums that are none are refused", () => {
  const g = new Graph("refused");
  expect(() => gradientPenalty(g.input("sums", [2, 5, 2, 4]), g.input("settings", [4]))).toThrow(/\[gradient_penalty\] sums must be f32/);
});
