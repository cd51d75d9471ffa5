import { expect, test } from "vitest";
import { groupNorm } from "../../src/ops/group_norm.ts";
import { groupNormMerge } from "../../src/ops/group_norm_merge.ts";
import { groupNormStats } from "../../src/ops/group_norm_stats.ts";
import { values } from "../support/compare.ts";
import { runGraph } from "../support/gpu.ts";
import { testCases } from "../support/sweep.ts";

testCases("group_norm");

test("statistics of slices of any size merge into those of the whole", async () => {
  const [rows, c] = [700, 8];
  const x = values(rows * c, 1).map((v, i) => v * (1 + (i % 5)) + 7);
  const out = await runGraph(
    (g) => {
      const stats = groupNormStats(g.input("x", [1, rows, c]));
      return { stats, norm: groupNormMerge(stats, { channels: c, groups: 2, eps: 0 }) };
    },
    { inputs: { x } },
  );
  expect(out["stats"]!.length).toBeGreaterThan(3 * c);
  for (const group of [0, 1]) {
    const of = Array.from({ length: rows * 4 }, (_, i) => x[Math.floor(i / 4) * c + group * 4 + (i % 4)]!);
    const mean = of.reduce((a, b) => a + b) / of.length;
    const rstd = 1 / Math.sqrt(of.reduce((a, b) => a + (b - mean) ** 2, 0) / of.length);
    for (let i = 0; i < 4; i++) {
      expect(out["norm"]![group * 4 + i]).toBeCloseTo(mean, 4);
      expect(out["norm"]![c + group * 4 + i]! / rstd).toBeCloseTo(1, 5);
    }
  }
});

test("channels that do not divide into groups are refused", async () => {
  await expect(
    runGraph((g) => ({ y: groupNorm(g.input("x", [1, 1, 2, 2, 8]), g.weight("w", [6]), g.weight("b", [6]), { groups: 4, eps: 1e-6 }) })),
  ).rejects.toThrow(/\[group_norm_merge\] channels must divide into groups, got 6 and 4/);
});
