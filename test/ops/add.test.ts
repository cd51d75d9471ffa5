import { expect, test } from "vitest";
import { addCases } from "../../src/check/sweep/cases/add.ts";
import { Graph } from "../../src/graph/graph.ts";
import { add } from "../../src/ops/add.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(addCases);

test("summands of two shapes and of row numbers are refused", () => {
  const g = new Graph("refused");
  expect(() => add(g.input("a", [4]), g.input("b", [2, 2]))).toThrow(/\[add\] summands must have one shape/);
  expect(() => add(g.input("e", [4]), g.input("f", [4], "u32"))).toThrow(/\[add\] summands must be f32 or f16/);
});
