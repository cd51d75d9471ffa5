import { expect, test } from "vitest";
import { avgPool2dCases } from "../../src/check/sweep/cases/avg_pool2d.ts";
import { Graph } from "../../src/graph/graph.ts";
import { avgPool2d } from "../../src/ops/avg_pool2d.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(avgPool2dCases);

test("a picture below the window, and a window of no row, are refused", () => {
  const x = new Graph("refused").input("x", [1, 1, 2, 9, 4]);
  expect(() => avgPool2d(x, { rows: 3, columns: 1 })).toThrow(/\[avg_pool2d\] a window must have 1 row to 2 and 1 column to 9, got 3 × 1/);
  expect(() => avgPool2d(x, { rows: 0, columns: 2 })).toThrow(/got 0 × 2 .*give a smaller one/);
});
