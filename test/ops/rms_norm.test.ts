import { expect, test } from "vitest";
import { rmsNorm } from "../../src/ops/rms_norm.ts";
import { runGraph } from "../support/gpu.ts";
import { testCases } from "../support/sweep.ts";

testCases("rms_norm");

test("a weight of another width is refused", async () => {
  await expect(runGraph((g) => ({ y: rmsNorm(g.input("x", [2, 8]), g.input("w", [4])) }))).rejects.toThrow(
    /\[rms_norm\] the weight must be f32 \[8\], got w f32 \[4\]/,
  );
});
