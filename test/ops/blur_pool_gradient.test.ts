import { expect, test } from "vitest";
import { blurPoolGradientCases } from "../../src/check/sweep/cases/blur_pool_gradient.ts";
import { Graph } from "../../src/graph/graph.ts";
import { blurPoolGradient } from "../../src/ops/blur_pool_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(blurPoolGradientCases);

test("a gradient of another size is refused", () => {
  const dy = new Graph("refused").input("dy", [1, 1, 4, 4, 4]);
  expect(() => blurPoolGradient(dy, { shape: [1, 1, 7, 7, 4], dtype: "f32" })).toThrow(
    /\[blur_pool_gradient\] dy must be \[1, 1, 5, 5, 4\]/,
  );
});
