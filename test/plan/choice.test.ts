/** Choosing among kernels: by capability, by a table, and what may share a choice. */
import { describe, expect, it } from "vitest";
import type { Capabilities } from "../../src/gpu/capabilities.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Variant } from "../../src/graph/op.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { choiceKey, sizeClass, variantLabel } from "../../src/plan/choice.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { attention, attentionCandidates } from "../../src/ops/attention.ts";
import { conv3d, conv3dCandidates } from "../../src/ops/conv3d.ts";
import { groupNormApply, groupNormApplyCandidates } from "../../src/ops/group_norm_apply.ts";
import { layerNorm, layerNormCandidates } from "../../src/ops/layer_norm.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { matmulCandidates } from "../../src/ops/matmul/variants.ts";
import { qkNormRope } from "../../src/ops/qk_norm_rope.ts";
import { rmsNorm } from "../../src/ops/rms_norm.ts";
import { relativeL2, values } from "../support/compare.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";

const hardware: Capabilities = {
  kind: "hardware",
  vendor: "",
  architecture: "",
  description: "",
  f16: true,
  subgroups: { min: 32, max: 64 },
  subgroupMatrices: [
    { m: 16, n: 16, k: 16 },
    { m: 8, n: 8, k: 8 },
  ],
  timestamps: false,
  dotI8: true,
  immediates: true,
  maxBindingBytes: 2 ** 30,
  maxBufferBytes: 2 ** 32,
  maxWorkgroupInvocations: 1024,
  maxWorkgroupBytes: 32768,
  maxStorageBuffers: 10,
  maxGrid: 65535,
  offsetAlignment: 256,
};
const adapters: Record<string, Capabilities> = {
  "a GPU": hardware,
  "a GPU of default limits": { ...hardware, subgroups: null, subgroupMatrices: [], maxWorkgroupInvocations: 256, maxWorkgroupBytes: 16384 },
  "a CPU of 8 lanes": { ...hardware, kind: "software", subgroups: { min: 8, max: 8 }, subgroupMatrices: [] },
  "a CPU of 4 lanes": { ...hardware, kind: "software", subgroups: { min: 4, max: 4 }, subgroupMatrices: [] },
  "a CPU without subgroups": { ...hardware, kind: "software", subgroups: null, subgroupMatrices: [] },
};

/** One node of each op that has a choice; sizes past whole tiles. */
const cases: Record<
  string,
  {
    build(graph: Graph): Tensor;
    inputs: Record<string, Float32Array>;
    weights?: Record<string, { data: Float32Array; shape: readonly number[] }>;
  }
> = {
  matmul: {
    build: (g) => matmul(g.input("x", [2, 35, 32]), g.weight("w", [68, 32]), { bias: g.weight("b", [68]), activation: "gelu" }),
    inputs: { x: values(2 * 35 * 32, 1) },
    weights: { w: { data: values(68 * 32, 2, 0.3), shape: [68, 32] }, b: { data: values(68, 3), shape: [68] } },
  },
  conv3d: {
    build: (g) => conv3d(g.input("x", [1, 3, 5, 7, 16]), g.weight("w", [20, 16, 3, 3, 3]), { bias: g.weight("b", [20]) }),
    inputs: { x: values(3 * 5 * 7 * 16, 1) },
    weights: { w: { data: values(20 * 16 * 27, 2, 0.1), shape: [20, 16, 3, 3, 3] }, b: { data: values(20, 3), shape: [20] } },
  },
  attention: {
    build: (g) => attention(g.input("q", [2, 37, 32]), g.input("k", [2, 37, 32]), g.input("v", [2, 37, 32])),
    inputs: { q: values(2 * 37 * 32, 1), k: values(2 * 37 * 32, 2), v: values(2 * 37 * 32, 3) },
  },
  layer_norm: {
    build: (g) =>
      layerNorm(g.input("x", [70, 260]), {
        weight: g.weight("w", [260]),
        bias: g.weight("b", [260]),
        modulation: {
          table: g.input("t", [4, 260]),
          rows: g.constant(
            "rows",
            Uint32Array.from({ length: 70 }, (_, r) => (r < 21 ? 0 : 2)),
          ),
        },
      }),
    inputs: { x: values(70 * 260, 1), t: values(4 * 260, 4) },
    weights: { w: { data: values(260, 2), shape: [260] }, b: { data: values(260, 3), shape: [260] } },
  },
  rms_norm: {
    build: (g) => rmsNorm(g.input("x", [35, 260]), g.weight("w", [260])),
    inputs: { x: values(35 * 260, 1) },
    weights: { w: { data: values(260, 2), shape: [260] } },
  },
  qk_norm_rope: {
    build: (g) =>
      qkNormRope(g.input("q", [3, 37, 32]), g.input("k", [3, 37, 32]), {
        norm: { q: g.weight("nq", [2, 32]), k: g.weight("nk", [2, 32]), eps: 1e-6 },
      }).q,
    inputs: { q: values(3 * 37 * 32, 1), k: values(3 * 37 * 32, 2) },
    weights: { nq: { data: values(64, 3), shape: [2, 32] }, nk: { data: values(64, 4), shape: [2, 32] } },
  },
  group_norm_apply: {
    build: (g) =>
      groupNormApply(g.input("x", [2, 3, 5, 7, 8]), g.input("norm", [2, 2, 8]), g.weight("w", [8]), g.weight("b", [8]), {
        activation: "silu",
      }),
    inputs: { x: values(2 * 3 * 5 * 7 * 8, 1), norm: values(32, 2) },
    weights: { w: { data: values(8, 3), shape: [8] }, b: { data: values(8, 4), shape: [8] } },
  },
};

const plan = (name: string, caps: Capabilities, provider = memoryWeights(cases[name]!.weights ?? {})) => {
  const graph = new Graph(name, provider.type);
  graph.output("y", cases[name]!.build(graph));
  return compile(graph, caps);
};

describe("a choice", () => {
  it("is shared by sizes up to a power of two, and by all that are large", () => {
    expect([1, 16, 17, 64, 65, 16384, 16385, 1e7].map(sizeClass)).toEqual([
      "≤16",
      "≤16",
      "≤32",
      "≤64",
      "≤128",
      "≤16384",
      ">16384",
      ">16384",
    ]);
    expect(choiceKey("matmul", { m: 1000 }, { n: 1920, k: 64 }, ["f16", "f32"])).toBe("matmul m≤1024 n=1920 k=64 f16 f32");
    expect(variantLabel({ name: "tiled", bm: 64, consts: { SM: 4 } } as Variant)).toBe("tiled bm=64 SM=4");
  });

  it.each(Object.keys(adapters))("has the same candidates for all sizes of a class, on %s", (name) => {
    const caps = adapters[name]!;
    const labels = (candidates: readonly Variant[]) => candidates.map(variantLabel).sort();
    const counts = [1, 7, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 300, 512, 700, 1024, 2000, 16384, 16385, 40_000, 3_000_000];
    const byClass = (of: (m: number) => readonly Variant[]) => {
      for (const [m, next] of counts.map((m, i) => [m, counts[i + 1]] as const)) {
        const found = labels(of(m));
        expect(new Set(found).size, "each once").toBe(found.length);
        expect(found.length).toBeGreaterThan(0);
        if (next !== undefined && sizeClass(m) === sizeClass(next)) expect(labels(of(next)), `${m} and ${next}`).toEqual(found);
      }
    };
    for (const half of [true, false])
      for (const [n, k] of [
        [4, 4],
        [20, 8],
        [64, 64],
        [1920, 1920],
        [7680, 1928],
        [128, 16],
      ] as const) {
        byClass((m) => matmulCandidates(caps, { m, n, k, half }));
        byClass((m) => matmulCandidates(caps, { m, n, k: 32 * k, half, bytes8: true }));
        for (const [kw, stride] of [
          [3, 1],
          [1, 1],
          [3, 2],
        ] as const)
          byClass((m) => conv3dCandidates(caps, { m, n, cin: k, kw, stride, half }));
      }
    for (const d of [16, 64]) expect(new Set(labels(attentionCandidates(caps, d, false))).size).toBeGreaterThan(1);
    for (const d of [4, 64, 1920, 3072, 6148])
      for (const gains of [true, false]) byClass((rows) => layerNormCandidates(caps, rows, d, gains));
    for (const spatial of [true, false]) byClass(() => groupNormApplyCandidates(caps, spatial));
  });

  it("takes tiles that a workgroup holds", () => {
    for (const caps of [adapters["a GPU"]!, adapters["a GPU of default limits"]!]) {
      for (const variant of [
        ...matmulCandidates(caps, { m: 17776, n: 1920, k: 1920, half: false }),
        ...conv3dCandidates(caps, { m: 1e6, n: 128, cin: 128, kw: 3, stride: 1, half: false }),
      ]) {
        if (variant.name !== "tiled") continue;
        expect(16 * (variant.bm * (variant.bk / 4 + 1) + variant.bk * (variant.bn / 4 + 4)), variantLabel(variant)).toBeLessThanOrEqual(
          caps.maxWorkgroupBytes,
        );
      }
    }
    // Integers round, so they are never what is taken without a measurement.
    const integers = matmulCandidates(hardware, { m: 17776, n: 1920, k: 1920, half: true, bytes8: true }).map(({ name }) => name);
    expect(integers.lastIndexOf("subgroup_matrix")).toBeLessThan(integers.indexOf("dot_i8"));
    expect(integers.at(-1)).toBe("dot_i8");
    expect(matmulCandidates(hardware, { m: 17776, n: 1920, k: 1920, half: false })[0]).toMatchObject({ bm: 128, bn: 128 });
    expect(matmulCandidates(adapters["a GPU of default limits"]!, { m: 17776, n: 1920, k: 1920, half: false })[0]).toMatchObject({
      bm: 64,
      bn: 64,
    });
  });
});

describe.each(Object.keys(cases))("%s", (name) => {
  it("is chosen by capability, by the table, and refuses what the table names and nobody has", () => {
    for (const caps of Object.values(adapters)) {
      const untuned = plan(name, caps);
      const [choice] = untuned.choices;
      expect(untuned.choices).toHaveLength(1);
      expect(choice).toMatchObject({ variant: choice!.candidates[0], tuned: false });
      expect(untuned.steps.at(-1)!.chosen).toBe("by capability");
      for (const wanted of choice!.candidates) {
        const caps2 = { ...caps, tuning: { [choice!.key]: wanted } };
        const tuned = plan(name, caps2);
        expect(tuned.choices[0]).toMatchObject({ variant: wanted, tuned: true });
        expect(tuned.steps.at(-1)!.chosen).toBe("tuned");
        expect(
          tuned.steps.map((s) => s.label),
          "the same table, the same plan",
        ).toEqual(plan(name, caps2).steps.map((s) => s.label));
        if (wanted !== choice!.variant) expect(tuned.steps.map((s) => s.label)).not.toEqual(untuned.steps.map((s) => s.label));
      }
      expect(plan(name, { ...caps, tuning: { "matmul of another shape": "octet" } }).steps.map((s) => s.label)).toEqual(
        untuned.steps.map((s) => s.label),
      );
      expect(() => plan(name, { ...caps, tuning: { [choice!.key]: "warp bm=8" } })).toThrow(
        /^\[tuning\] a tuned variant must be one that this adapter can run, got "warp bm=8" for ".+", which has ".+; run `cogwheel tune` again/,
      );
    }
  });

  it("computes the same with every candidate of this adapter, each with weights packed for it", async () => {
    const gpu = await testGpu();
    const { inputs, weights = {} } = cases[name]!;
    const provider = memoryWeights(weights);
    let want: Float32Array | undefined;
    const [choice] = plan(name, gpu.caps).choices;
    using store = new WeightStore(gpu, provider);
    // A CPU adapter takes up to 10 seconds to compile a kernel for GPUs: one of them will do.
    const run = choice!.candidates.filter(
      (label, i, all) => gpu.caps.kind === "hardware" || !/^(tiled|flash)/.test(label) || i === all.length - 1,
    );
    expect(run.length).toBeGreaterThan(1);
    for (const wanted of run) {
      using program = await Program.create(gpu, plan(name, { ...gpu.caps, tuning: { [choice!.key]: wanted } }, provider), store);
      await program.run({ inputs });
      const got = await program.read("y");
      want ??= got;
      expect(relativeL2(got, want), wanted).toBeLessThan(1e-6);
    }
  });
});
