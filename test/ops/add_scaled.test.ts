import { expect, test } from "vitest";
import { addScaledCases } from "../../src/check/sweep/cases/add_scaled.ts";
import { Graph } from "../../src/graph/graph.ts";
import { addScaled } from "../../src/ops/add_scaled.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(addScaledCases);

test("a factor that is not padded is refused", () => {
  const g = new Graph("refused");
  expect(() => addScaled(g.input("a", [8]), g.input("b", [8]), g.input("factor", [1]))).toThrow(
    /\[add_scaled\] the factor must be f32 \[4\]/,
  );
});
