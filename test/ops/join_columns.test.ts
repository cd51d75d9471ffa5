import { expect, test } from "vitest";
import { joinColumnsCases } from "../../src/check/sweep/cases/join_columns.ts";
import { Graph } from "../../src/graph/graph.ts";
import { joinColumns } from "../../src/ops/join_columns.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(joinColumnsCases);

test("matrices of different rows are refused", () => {
  const g = new Graph("refused");
  expect(() => joinColumns(g.input("a", [3, 4]), g.input("b", [2, 4]))).toThrow(/\[join_columns\] a and b must be f32 or f16 \[R, A\]/);
});
