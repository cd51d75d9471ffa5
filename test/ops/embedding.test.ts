import { expect, test } from "vitest";
import { embedding } from "../../src/ops/embedding.ts";
import { embeddingCases } from "../../src/check/sweep/cases/embedding.ts";
import { runGraph } from "../support/gpu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(embeddingCases);

test("ids must be integers", async () => {
  await expect(runGraph((g) => ({ y: embedding(g.input("ids", [2]), g.input("t", [4, 4])) }))).rejects.toThrow(
    /\[embedding\] ids must be u32, got ids f32 \[2\]/,
  );
});
