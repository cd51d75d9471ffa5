import { expect, test } from "vitest";
import { groupNormCases } from "../../src/check/sweep/cases/group_norm.ts";
import { groupNorm } from "../../src/ops/group_norm.ts";
import { runGraph } from "../support/gpu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(groupNormCases);

test("channels that do not divide into groups are refused", async () => {
  await expect(
    runGraph((g) => ({ y: groupNorm(g.input("x", [1, 1, 2, 2, 8]), g.weight("w", [6]), g.weight("b", [6]), { groups: 4, eps: 1e-6 }) })),
  ).rejects.toThrow(/\[group_norm_merge\] channels must divide into groups, got 6 and 4/);
});
