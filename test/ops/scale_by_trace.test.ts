import { expect, test } from "vitest";
import { scaleByTraceCases } from "../../src/check/sweep/cases/scale_by_trace.ts";
import { Graph } from "../../src/graph/graph.ts";
import { scaleByTrace } from "../../src/ops/scale_by_trace.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(scaleByTraceCases);

test("what is no matrix with a diagonal is refused", () => {
  const g = new Graph("refused");
  expect(() => scaleByTrace(g.input("x", [8]), g.input("gram", [4, 3]))).toThrow(/\[scale_by_trace\] gram must be an f32 matrix of N rows/);
});
