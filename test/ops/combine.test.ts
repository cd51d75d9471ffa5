import { expect, test } from "vitest";
import { combineCases } from "../../src/check/sweep/cases/combine.ts";
import { Graph } from "../../src/graph/graph.ts";
import { combine } from "../../src/ops/combine.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(combineCases);

test("summands of two shapes are refused", () => {
  const g = new Graph("refused");
  expect(() => combine(g.input("a", [8]), g.input("b", [4]), { alpha: 1, beta: 1 })).toThrow(
    /\[combine\] a and b must be f32 of one shape/,
  );
});
