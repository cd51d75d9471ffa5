import { expect, test } from "vitest";
import { accumulateCases } from "../../src/check/sweep/cases/accumulate.ts";
import { Graph } from "../../src/graph/graph.ts";
import { accumulate } from "../../src/ops/accumulate.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(accumulateCases);

test("a summand of another shape is refused", () => {
  const g = new Graph("refused");
  expect(() => accumulate(g.input("sum", [8]), g.input("x", [4]), g.input("begun", [4]))).toThrow(
    /\[accumulate\] the sum must be f32 of the shape/,
  );
});
