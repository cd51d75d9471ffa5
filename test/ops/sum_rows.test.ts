import { expect, test } from "vitest";
import { sumRowsCases } from "../../src/check/sweep/cases/sum_rows.ts";
import { Graph } from "../../src/graph/graph.ts";
import { sumRows } from "../../src/ops/sum_rows.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(sumRowsCases);

test("columns that are no vectors of 4 are refused", () => {
  expect(() => sumRows(new Graph("refused").input("x", [2, 6]))).toThrow(/\[sum_rows\] x must be \[S, C\] in f32 or f16/);
});
