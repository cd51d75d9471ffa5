import { expect, test } from "vitest";
import { squareSumCases } from "../../src/check/sweep/cases/square_sum.ts";
import { Graph } from "../../src/graph/graph.ts";
import { squareSum } from "../../src/ops/square_sum.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(squareSumCases);

test("values in f16 and sums of another kind are refused", () => {
  const g = new Graph("refused");
  expect(() => squareSum(g.input("half", [8], "f16"))).toThrow(/\[square_sum\] x must be f32, got half f16/);
  expect(() => squareSum(g.input("x", [8]), g.input("before", [8]))).toThrow(/what came before must be f32 \[2, partials\]/);
});
