import { expect, test } from "vitest";
import { transposeCases } from "../../src/check/sweep/cases/transpose.ts";
import { Graph } from "../../src/graph/graph.ts";
import { transpose } from "../../src/ops/transpose.ts";
import { gradientTests } from "../support/gradients.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(transposeCases);

gradientTests(transposeCases);

test("what is no matrix is refused", () => {
  expect(() => transpose(new Graph("refused").input("x", [2, 3, 4]))).toThrow(/\[transpose\] x must be an f32 or f16 matrix/);
});
