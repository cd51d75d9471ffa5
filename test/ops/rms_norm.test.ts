import { expect, test } from "vitest";
import { rmsNormCases } from "../../src/check/sweep/cases/rms_norm.ts";
import { rmsNorm } from "../../src/ops/rms_norm.ts";
import { runGraph } from "../support/gpu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(rmsNormCases);

test("a weight of another width is refused", async () => {
  await expect(runGraph((g) => ({ y: rmsNorm(g.input("x", [2, 8]), g.input("w", [4])) }))).rejects.toThrow(
    /\[rms_norm\] the weight must be f32 \[8\], got w f32 \[4\]/,
  );
});
