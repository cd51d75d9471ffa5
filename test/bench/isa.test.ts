/** The GPU kernels by AMD's own compiler: none spills, none falls behind what bench/results/isa.json has. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { allKernels } from "#kernels";
import { beforeAll, describe, expect, test } from "vitest";
import { readIsa } from "../../bench/isa/count.ts";
import { byKernel, measureIsa, PEER, type IsaRow } from "../../bench/isa/measure.ts";
import { keepingPeer, readIsaRecord, type IsaRecord } from "../../bench/isa/record.ts";
import { packageRoot } from "../../src/cli/package-root.ts";
import { allCases } from "#sweep-cases";

const kept = readIsaRecord(join(packageRoot, "bench/results/isa.json"))!;
const POINTS = 0.03;
const WAVES = 8;
/** What each must reach at least, of the vector issue slots. */
const targets: Record<string, (row: IsaRow) => [number, number]> = {
  matmul_tiled: ({ isa }) => [isa.loop!.useful, 0.92],
  conv3d_tiled: ({ isa }) => [isa.loop!.useful, 0.88],
  attention_flash: ({ isa }) => [isa.loop!.main, 0.75],
  matmul_subgroup_matrix: ({ isa }) => [isa.loop!.matrixShare, 0.9],
  matmul_tn_subgroup_matrix: ({ isa }) => [isa.loop!.matrixShare, 0.9],
  conv3d_subgroup_matrix: ({ isa }) => [isa.loop!.matrixShare, 0.75],
  conv3d_gradient_w_subgroup_matrix: ({ isa }) => [isa.loop!.matrixShare, 0.85],
  attention_subgroup_matrix: ({ isa }) => [isa.loop!.matrixShare, 0.75],
};

beforeAll(() => {
  const built = spawnSync(process.execPath, ["build.mjs", "--if-stale"], { encoding: "utf8", cwd: packageRoot });
  expect(built.status, built.stderr).toBe(0);
});

/** The fewest waves that a kernel's header gives a reason for: `// Occupancy 4 waves a SIMD or more on RDNA 3: …`. */
function reasonedWaves(name: string): number {
  const { family } = allKernels.find((kernel) => kernel.name === name)!;
  const header = readFileSync(join(packageRoot, "kernels", family, `${name}.wgsl`), "utf8").split("//! specialise")[0]!;
  const line = /^\/\/ Occupancy (\d+) waves a SIMD or more on RDNA 3\b.{10}/m.exec(header);
  return line ? Number(line[1]) : WAVES;
}

const spilling = (rows: readonly IsaRow[]): string[] =>
  rows
    .filter(({ isa: { stats } }) => stats.spills + stats.scratchBytes > 0)
    .map(({ label, isa: { stats } }) => `${label}: ${stats.spills} spills, ${stats.scratchBytes} bytes of scratch`);

test("kernels keep their registers, occupancy and share of the issue slots", { timeout: 600_000 }, async ({ skip }) => {
  const result = await measureIsa(kept.family);
  if (typeof result === "string") return skip(`needs ${result}`);
  const { rows } = result;
  expect(spilling(rows)).toEqual([]);
  const compiled = new Set(rows.map((row) => row.kernel));
  const forGpus = allCases.flatMap((list) =>
    list.kernels.filter((choice) => choice.when.kind === "hardware").map((choice) => choice.kernel.name),
  );
  expect(
    [...new Set(forGpus)].filter((name) => !compiled.has(name)),
    "kernels that were not compiled",
  ).toEqual([]);
  // Another Mesa is another compiler: then only what must hold with any is asked.
  const same = result.adapter === kept.adapter;
  for (const { kernel, waves, fewest } of byKernel(rows)) {
    const reasoned = reasonedWaves(kernel);
    if (same && reasoned < WAVES) expect(waves, `${fewest}: what its header says under Occupancy`).toBe(reasoned);
    else
      expect(waves, `${fewest}: waves a SIMD; raise them, or give the reason in its header under Occupancy`).toBeGreaterThanOrEqual(
        reasoned,
      );
  }
  const before = new Map(kept.rows.filter((row) => row.kernel !== PEER).map((row) => [row.label, row]));
  const known = new Set([...before.values()].map((row) => row.kernel));
  expect(
    [...compiled].filter((name) => !known.has(name)),
    "kernels that bench/results/isa.json does not have; run npm run bench:isa",
  ).toEqual([]);
  // Labels that are new are compared from the next record on; if most are, something has renamed them.
  if (same)
    expect(
      rows.filter((row) => before.has(row.label)).length / rows.length,
      "variants that bench/results/isa.json has; run npm run bench:isa",
    ).toBeGreaterThan(0.9);
  const found = new Set<string>();
  const fallen: string[] = [];
  for (const row of rows) {
    const old = before.get(row.label);
    if (row.of === "case") expect(old, `${row.label}: run npm run bench:isa`).toBeDefined();
    if (same && row.isa.loop && old?.isa.loop) {
      for (const key of row.of === "case" ? (["useful", "matrixShare", "main"] as const) : (["useful"] as const)) {
        if (!(row.isa.loop[key] > old.isa.loop[key] - POINTS))
          fallen.push(`${row.label}: ${key} ${row.isa.loop[key].toFixed(3)}, was ${old.isa.loop[key].toFixed(3)}`);
      }
    }
    // A gradient takes smaller tiles of a forward kernel too, for the edges of its sums: they are held by their record.
    if (row.of !== "case" || !targets[row.kernel] || (row.case.includes("_gradient") && !row.kernel.includes("_gradient"))) continue;
    found.add(row.kernel);
    const [share, least] = targets[row.kernel]!(row);
    expect(share, row.label).toBeGreaterThanOrEqual(least);
    if (same) expect(row.isa.stats.waves, `${row.label}, waves`).toBeGreaterThanOrEqual(old!.isa.stats.waves);
  }
  expect(fallen).toEqual([]);
  expect([...found].sort()).toEqual(Object.keys(targets).sort());
});

test.for(["navi21", "vega10"])("no kernel spills on %s", { timeout: 600_000 }, async (family, { skip }) => {
  const result = await measureIsa(family, { sizes: ["model"] });
  if (typeof result === "string") return skip(`needs ${result}`);
  expect(result.rows.length).toBeGreaterThan(100);
  expect(spilling(result.rows)).toEqual([]);
});

test("a run without the peer keeps its rows; a run with it, and another GPU, take none", () => {
  const { stats, loop } = kept.rows[0]!.isa;
  const row = (kernel: string, label: string): IsaRow => ({ of: "case", case: "matmul f32", kernel, label, isa: { stats, loop } });
  const record = (rows: readonly IsaRow[], rest: Partial<IsaRecord> = {}): IsaRecord => ({
    date: "2026-02-02",
    family: "navi31",
    adapter: "Mesa 2",
    rows,
    ...rest,
  });
  const onnxruntime = { version: "1.30.0", date: "2026-01-01", adapter: "Mesa 1" };
  const earlier = record([row("matmul_tiled", "old"), row(PEER, "MatMul")], { onnxruntime, date: "2026-01-01", adapter: "Mesa 1" });
  expect(keepingPeer(record([row("matmul_tiled", "new")]), earlier)).toEqual(
    record([row("matmul_tiled", "new"), row(PEER, "MatMul")], { onnxruntime }),
  );
  const own = record([row("matmul_tiled", "new"), row(PEER, "Gemm")], { onnxruntime: { ...onnxruntime, version: "2" } });
  expect(keepingPeer(own, earlier)).toEqual(own);
  expect(keepingPeer(record([], { family: "navi21" }), earlier)).toEqual(record([], { family: "navi21" }));
  expect(keepingPeer(record([]), undefined)).toEqual(record([]));
});

describe("counting", () => {
  const shader = (body: string) =>
    `Compute Shader\ndisasm:\n${body}*** SHADER STATS ***\nVGPRs: 48\nSpilled SGPRs: 1\nSpilled VGPRs: 2\nLDS size: ` +
    `512\nScratch size: 64\nSubgroups per SIMD: 16\nInstructions: 12\n********************\n`;
  const inner =
    "BB2:\n\tv_fmac_f32_e32 v1, v2, v3\n\tv_dual_fmac_f32 v1, v2, v3 :: " +
    "v_dual_fmac_f32 v4, v5, v6\n\tv_mov_b32 v1, v2\n\tds_load_b128 v[0:3], v4\n\ts_cbranch_scc0 BB2\n";

  test("statistics, and the shares of an inner loop and of the loop around it", () => {
    const [isa] = readIsa(
      shader(
        `BB0:\n\tv_mov_b32 v1, v2\nBB1:\n\tv_add_nc_u32 v1, v2, v3\n\tv_add_nc_u32 v1, ` +
          `v2, v3\n${inner}BB3:\n\ts_branch BB1\nBB4:\n\ts_endpgm\n`,
      ),
      [4],
    );
    expect(isa!.stats).toEqual({ vgprs: 48, spills: 3, scratchBytes: 64, ldsBytes: 512, waves: 16, instructions: 12 });
    expect(isa!.loop).toMatchObject({ instructions: 5, fma: 2, matrix: 0, vector: 1, lds: 1, ldsWide: 1, useful: 2 / 3, main: 8 / 14 });
  });

  test("a matrix instruction takes sixteen slots; a shader without a loop has none", () => {
    const [matrix, straight] = readIsa(
      shader("BB0:\n\tv_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]\n\tv_mov_b32 v1, v2\n\ts_cbranch_scc1 BB0\n") +
        shader("BB0:\n\tv_fma_f32 v0, v1, v2, v3\n"),
    );
    expect(matrix!.loop).toMatchObject({ matrix: 1, matrixShare: 16 / 17, useful: 16 / 17, main: 16 / 17 });
    expect(straight!.loop).toBeNull();
  });
});
