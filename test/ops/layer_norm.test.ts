import { expect, test } from "vitest";
import { layerNormCases } from "../../src/check/sweep/cases/layer_norm.ts";
import { layerNorm } from "../../src/ops/layer_norm.ts";
import { runGraph, testGpu } from "../support/gpu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(layerNormCases);

test("a width that is no multiple of 4, and half of an affine pair, are refused", async () => {
  await expect(runGraph((g) => ({ y: layerNorm(g.input("x", [2, 6])) }))).rejects.toThrow(/multiple of 4/);
  await expect(runGraph((g) => ({ y: layerNorm(g.input("x", [2, 8]), { weight: g.input("w", [8]) }) }))).rejects.toThrow(
    /weight and bias must both/,
  );
  expect((await testGpu()).lost).toBeNull();
});
