/**
 * The kernels for subgroup matrices in every configuration that GPUs have: 8×8×8 (Apple, lavapipe), 16×16×16 (AMD, NVIDIA), 8×16×16 and
 * 8×8×16 (Intel). The matrices are emulated, so that all of a kernel but the GPU's own multiplication runs, on any adapter with f16.
 * Attention and its gradient, which take minutes to compile, run in one of them each, attention at two shapes; in all, and at more
 * shapes, where COGWHEEL_EVERY_CASE is set.
 */
import { describe, expect, test } from "vitest";
import type { Capabilities } from "../../src/gpu/capabilities.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { Plan } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import type { ListedKernel, OpCase, OpCases } from "../../src/check/sweep/case.ts";
import { allCases } from "#sweep-cases";
import { describeWorst, measureCase, planCase, type PlannedCase } from "../../src/check/sweep/run-case.ts";
import { relativeL2 } from "../support/compare.ts";
import { emulatedPlan, MATRICES } from "../support/emulated-matrices.ts";
import { testGpu } from "../support/gpu.ts";

/** Lanes of a subgroup, and of the largest that the adapter says it has: where there are smaller ones, more of them share the work. */
const configs: { m: number; n: number; k: number; lanes: number; largest: number; slow?: string }[] = [
  { m: 8, n: 8, k: 8, lanes: 32, largest: 32 },
  { m: 16, n: 16, k: 16, lanes: 64, largest: 64, slow: "attention_gradient" },
  { m: 8, n: 16, k: 16, lanes: 32, largest: 32, slow: "attention" },
  { m: 8, n: 8, k: 16, lanes: 16, largest: 32 },
];
type Config = (typeof configs)[number];

const every = Boolean(process.env["COGWHEEL_EVERY_CASE"]);

/** Epilogues and head widths that the sweep runs on real matrices are left out where they only make more pipelines. */
const wanted: Record<string, RegExp> = {
  matmul:
    /^(67×68×48 bias \(xwy\)|\d+×68×48 bias residual gate \(xw\)|67×68×24|(2|19)×68×48 bias \(xw\)|520×196×64|67×68×48 bias accumulate gate \(xw\)|67×68×48 bias by heads of 4 |67×60×48 bias by heads of 12 |520×192×64 bias (by heads|accumulate))/,
  matmul_nn: /^(67×48×(68|80) \((xwy|xw)\)|67×24×68|520×196×64|130×544×68)/,
  matmul_tn: /^(68×48 of 67 \(ab\)|72×136 of 67|200×24 of 299|15×40 of 299|131×130 of 601|136×72 of 515)/,
  attention: every ? /× (32|64)[, ]/ : /^(2 heads × 38 × 64, 2 segments|3 heads × 150 × 32, 3 segments, padding, log-sum-exp)/,
  attention_gradient: /^(2 heads × 38 × 64|3 heads × 150 × 32, 3 segments)/,
  conv3d: /./,
  conv3d_gradient_x: /\(gw\)/,
  conv3d_gradient_w: /^(3×3×3, 24 to 40 channels \(gx\)|3×3×3, many|3×3×3 on a cache|replicated|2-D|4×4×4)/,
};
/** Of these, a tile of 2 × 4 matrices a subgroup too, where so little work takes one of 1 × 1. */
const tiled: Record<string, RegExp> = {
  matmul: /^67×68×48 bias \(xwy\)/,
  matmul_nn: /^67×48×80 \(xw\), w both/,
  matmul_tn: /^72×136 of 67/,
  conv3d: /stride 2, 32 to 36 channels/,
  conv3d_gradient_w: /^2-D, stride 2/,
};

const kinds: [string, OpCases, ListedKernel][] = Object.keys(wanted).map((op) => {
  const list = allCases.find((one) => one.op === op)!;
  return [op, list, list.kernels.find((choice) => choice.kernel.enables.includes(MATRICES))!];
});
const kindsOf = ({ slow }: Config): typeof kinds => kinds.filter(([op]) => op === slow || every || !op.startsWith("attention"));
const capsOf = (gpu: Gpu, { m, n, k, lanes, largest }: Config): Capabilities => ({
  ...gpu.caps,
  subgroups: { min: lanes, max: largest },
  subgroupMatrices: [{ m, n, k }],
});

/** The case as the engine takes it, and with the larger tile where `both`. */
function plans(list: OpCases, c: OpCase, choice: ListedKernel, caps: Capabilities, both: boolean): PlannedCase[] {
  const first = planCase(list, c, choice, "f16", caps);
  if (!both) return [first];
  const { key, candidates } = first.plan.choices[0]!;
  const larger = candidates.find((label) => / SM=2 SN=4 /.test(label))!;
  return [first, planCase(list, c, choice, "f16", { ...caps, tuning: { [key]: larger } })];
}

describe.each(configs.map((config) => [`${config.m}×${config.n}×${config.k}, subgroups of ${config.lanes}`, config] as const))(
  "%s",
  (_, config) => {
    test.for(kindsOf(config))("%s", { timeout: 300_000 }, async ([op, list, choice], { skip }) => {
      const gpu = await testGpu();
      if (!gpu.caps.f16) return skip("needs shader-f16");
      const caps = capsOf(gpu, config);
      const wrong: string[] = [];
      const shapes = new Set<string>();
      for (const c of list.cases) {
        if (c.size === "model" || !wanted[op]!.test(c.name) || !choice.takes!(c, caps, "f16")) continue;
        for (const planned of plans(list, c, choice, caps, tiled[op]?.test(c.name) ?? false)) {
          for (const label of planned.labels) shapes.add(label);
          for (const m of await measureCase(gpu, { ...planned, plan: emulatedPlan(planned.plan, config.lanes) })) {
            if (m.failed) wrong.push(`${c.name}, ${planned.labels.join(" + ")}: ${describeWorst(m)}`);
          }
        }
      }
      expect(wrong).toEqual([]);
      expect(shapes.size).toBeGreaterThanOrEqual(2);
    });
  },
);

test("a kernel that loads from the wrong place is seen", async ({ skip }) => {
  const gpu = await testGpu();
  if (!gpu.caps.f16) return skip("needs shader-f16");
  const [, list, choice] = kinds[0]!;
  const c = list.cases.find((one) => tiled["matmul"]!.test(one.name))!;
  const planned = planCase(list, c, choice, "f16", capsOf(gpu, configs[2]!));
  const plan = emulatedPlan(planned.plan, 32, (source) => source.replaceAll("* MM * STRIDE", "* NN * STRIDE"));
  const [m] = await measureCase(gpu, { ...planned, plan });
  expect(m!.error).toBeGreaterThan(0.1);
});

/** Every output of a plan. */
async function outputs(gpu: Gpu, plan: Plan, draw: PlannedCase["draw"]): Promise<Record<string, Float32Array>> {
  draw.fill();
  using store = new WeightStore(gpu, draw.provider);
  using program = await Program.create(gpu, plan, store);
  await program.run({ inputs: draw.inputs });
  const out: Record<string, Float32Array> = {};
  for (const name of plan.graph.outputs.keys()) out[name] = await program.read(name);
  return out;
}

test.for(kinds)("%s: emulated matrices do what the adapter's do", { timeout: 300_000 }, async ([op, list, choice], { skip }) => {
  const gpu = await testGpu();
  if (gpu.caps.subgroupMatrices.length === 0) return skip("needs subgroup matrices: npm run test:subgroup-matrix");
  const pattern = tiled[op] ?? (op.startsWith("attention") ? /38 × 64/ : wanted[op]!);
  const c = list.cases.find((one) => pattern.test(one.name) && choice.takes!(one, gpu.caps, "f16"))!;
  const planned = planCase(list, c, choice, "f16", gpu.caps);
  const real = await outputs(gpu, planned.plan, planned.draw);
  const emulated = await outputs(gpu, emulatedPlan(planned.plan, gpu.caps.subgroups!.max), planned.draw);
  // Sums in another order, which may round the last bit of a half another way.
  for (const [name, { dtype }] of planned.plan.graph.outputs)
    expect(relativeL2(emulated[name]!, real[name]!)).toBeLessThan(dtype === "f16" ? 1e-4 : 1e-6);
});
