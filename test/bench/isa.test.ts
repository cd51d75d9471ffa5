/** The GPU kernels by AMD's own compiler: none spills, none falls behind what bench/results/isa.json has. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { readIsa } from "../../bench/isa/count.ts";
import { measureIsa, type IsaRow } from "../../bench/isa/measure.ts";
import { packageRoot } from "../../src/cli/package-root.ts";

const kept = JSON.parse(readFileSync(`${packageRoot}/bench/results/isa.json`, "utf8")) as { family: string; adapter: string; rows: IsaRow[] };
const POINTS = 0.03;
/** What each must reach at least, of the vector issue slots. */
const targets: Record<string, (row: IsaRow) => [number, number]> = {
  matmul_tiled: ({ isa }) => [isa.loop!.useful, 0.92],
  conv3d_tiled: ({ isa }) => [isa.loop!.useful, 0.88],
  attention_flash: ({ isa }) => [isa.loop!.main, 0.75],
  matmul_subgroup_matrix: ({ isa }) => [isa.loop!.matrixShare, 0.75],
  conv3d_subgroup_matrix: ({ isa }) => [isa.loop!.matrixShare, 0.75],
  attention_subgroup_matrix: ({ isa }) => [isa.loop!.matrixShare, 0.75],
};

test("kernels keep their registers, occupancy and share of the issue slots", async ({ skip }) => {
  const built = spawnSync(process.execPath, ["build.mjs", "--if-stale"], { encoding: "utf8", cwd: packageRoot });
  expect(built.status, built.stderr).toBe(0);
  const result = await measureIsa(kept.family);
  if (typeof result === "string") return skip(`needs ${result}`);
  // Another Mesa is another compiler: then only what must hold with any is asked.
  const same = result.adapter === kept.adapter;
  const found = new Set<string>();
  for (const row of result.rows) {
    const { stats, loop } = row.isa;
    expect([row.label, stats.spills, stats.scratchBytes], "spills and scratch").toEqual([row.label, 0, 0]);
    if (!targets[row.kernel]) continue;
    found.add(row.kernel);
    const [share, least] = targets[row.kernel]!(row);
    expect(share, row.label).toBeGreaterThanOrEqual(least);
    const before = kept.rows.find((old) => old.case === row.case && old.kernel === row.kernel);
    expect(before, `${row.case}, ${row.kernel}: run npm run bench:isa`).toBeDefined();
    if (!same) continue;
    for (const key of ["useful", "matrixShare", "main"] as const) expect(loop![key], `${row.label}, ${key}`).toBeGreaterThan(before!.isa.loop![key] - POINTS);
    expect(stats.waves, `${row.label}, waves`).toBeGreaterThanOrEqual(before!.isa.stats.waves);
  }
  expect([...found].sort()).toEqual(Object.keys(targets).sort());
});

describe("counting", () => {
  const shader = (body: string) => `Compute Shader\ndisasm:\n${body}*** SHADER STATS ***\nVGPRs: 48\nSpilled SGPRs: 1\nSpilled VGPRs: 2\nLDS size: 512\nScratch size: 64\nSubgroups per SIMD: 16\nInstructions: 12\n********************\n`;
  const inner = "BB2:\n\tv_fmac_f32_e32 v1, v2, v3\n\tv_dual_fmac_f32 v1, v2, v3 :: v_dual_fmac_f32 v4, v5, v6\n\tv_mov_b32 v1, v2\n\tds_load_b128 v[0:3], v4\n\ts_cbranch_scc0 BB2\n";

  test("statistics, and the shares of an inner loop and of the loop around it", () => {
    const [isa] = readIsa(shader(`BB0:\n\tv_mov_b32 v1, v2\nBB1:\n\tv_add_nc_u32 v1, v2, v3\n\tv_add_nc_u32 v1, v2, v3\n${inner}BB3:\n\ts_branch BB1\nBB4:\n\ts_endpgm\n`), [4]);
    expect(isa!.stats).toEqual({ vgprs: 48, spills: 3, scratchBytes: 64, ldsBytes: 512, waves: 16, instructions: 12 });
    expect(isa!.loop).toMatchObject({ instructions: 5, fma: 2, matrix: 0, vector: 1, lds: 1, ldsWide: 1, useful: 2 / 3, main: 8 / 14 });
  });

  test("a matrix instruction takes sixteen slots; a shader without a loop has none", () => {
    const [matrix, straight] = readIsa(shader("BB0:\n\tv_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]\n\tv_mov_b32 v1, v2\n\ts_cbranch_scc1 BB0\n") + shader("BB0:\n\tv_fma_f32 v0, v1, v2, v3\n"));
    expect(matrix!.loop).toMatchObject({ matrix: 1, matrixShare: 16 / 17, useful: 16 / 17, main: 16 / 17 });
    expect(straight!.loop).toBeNull();
  });
});
