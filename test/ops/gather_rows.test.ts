import { expect, test } from "vitest";
import { gatherRowsCases } from "../../src/check/sweep/cases/gather_rows.ts";
import { Graph } from "../../src/graph/graph.ts";
import { gatherRows } from "../../src/ops/gather_rows.ts";
import { gradientTests } from "../support/gradients.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(gatherRowsCases);
gradientTests(gatherRowsCases);

test("an inverse that is not of the rows of x is refused", () => {
  const g = new Graph("refused");
  const [x, index] = [g.input("x", [3, 4]), g.input("index", [2], "u32")];
  expect(() => gatherRows(x, index, g.input("inverse", [2], "u32"))).toThrow(/the inverse with 3 values/);
  expect(() => gatherRows(g.input("odd", [3, 3]), index, index)).toThrow(/C a multiple of 4/);
});
