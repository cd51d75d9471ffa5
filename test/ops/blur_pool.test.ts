import { expect, test } from "vitest";
import { blurPoolCases } from "../../src/check/sweep/cases/blur_pool.ts";
import { Graph } from "../../src/graph/graph.ts";
import { blurPool } from "../../src/ops/blur_pool.ts";
import { gradientTests } from "../support/gradients.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(blurPoolCases);
gradientTests(blurPoolCases, { cases: (c) => !c.limits });

test("a picture without two rows to mirror is refused", () => {
  expect(() => blurPool(new Graph("refused").input("x", [1, 1, 2, 9, 4]))).toThrow(/\[blur_pool\] a picture must have 3 rows and columns/);
});
