import { expect, test } from "vitest";
import { patchifyCases } from "../../src/check/sweep/cases/patchify.ts";
import { patchify } from "../../src/ops/patchify.ts";
import { runGraph } from "../support/gpu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(patchifyCases);

test("sizes that patches do not divide are refused", async () => {
  await expect(runGraph((g) => ({ y: patchify(g.input("x", [1, 3, 4, 4, 4]), { patchSize: 2, patchSizeT: 2 }) }))).rejects.toThrow(
    /latent frames must be a multiple of 2/,
  );
});
