import { expect, test } from "vitest";
import { gradientNormCases } from "../../src/check/sweep/cases/gradient_norm.ts";
import { Graph } from "../../src/graph/graph.ts";
import { gradientNorm } from "../../src/ops/gradient_norm.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(gradientNormCases);

test("settings of another size are refused", () => {
  const g = new Graph("refused");
  expect(() => gradientNorm(g.input("sums", [2, 8]), g.input("settings", [8]))).toThrow(
    /settings must be f32 \[16\], got settings f32 \[8\]/,
  );
});
