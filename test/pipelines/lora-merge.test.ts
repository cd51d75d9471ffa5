/** Adapters that are merged and adapters that are kept beside weights give what the reference gives. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { caseWeights, readCase } from "../../src/check/reference/case.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { Graph } from "../../src/graph/graph.ts";
import { packedBytes } from "../../src/graph/packing.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { recordTransformer } from "../../src/models/cogvideox/forward.ts";
import { factorWeight } from "../../src/models/cogvideox/linear.ts";
import { loraChanges } from "../../src/models/lora/changes.ts";
import { LoraWeights, withLoras } from "../../src/models/lora/merge.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { loadLora } from "../../src/pipelines/lora-file.ts";
import type { GenerateOptions } from "../../src/pipelines/options.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program, widen } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { relativeL2, values } from "../support/compare.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";
import { MODULES, fileOf, pairs, plain } from "../support/lora.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

let gpu: Gpu;
let folder: string;
let files: string;
beforeAll(async () => {
  gpu = await testGpu();
  folder = await tinyCheckpoint();
  files = await mkdtemp(join(tmpdir(), "cogwheel-lora-"));
});
afterAll(async () => {
  await rm(files, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

const base = { prompt: "a red circle moving left", seed: 7, frames: 1, steps: 2 } as const;
const latents = async (model: CogVideoX, options: Partial<GenerateOptions> = {}) =>
  (await model.generate({ ...base, ...options })).state.latents;

describe("merged and live", () => {
  it("both are the reference's, two adapters of other ranks, scales and alphas on one weight", async () => {
    const path = join(import.meta.dirname, "../reference/cases/CogVideoXTransformer3DModel/5b_lora.safetensors");
    const c = await readCase(new Uint8Array(await readFile(path)), "5b_lora");
    const scales = c.options["lora"] as number[];
    expect(scales.length).toBe(2);
    const weights = caseWeights(c, "f32");
    const changes = loraChanges(
      c.loras.map((tensors, i) => ({ tensors, scale: scales[i]! })),
      weights.names(),
      (name) => weights.shape(name),
    );
    const live = new LoraWeights(changes, (name) => weights.shape(name));
    const want = c.outputs.get("sample")!.data;
    const config = parseTransformerConfig(c.config);
    for (const [mode, provider, loras] of [
      ["merged", withLoras(weights, changes), undefined],
      ["live", live.provider(weights), live],
      ["without", weights, undefined],
    ] as const) {
      const graph = new Graph(mode, (name) => provider.type(name));
      const of = (name: string) => c.inputs.get(name)!;
      graph.output(
        "sample",
        recordTransformer(
          graph,
          config,
          {
            latents: graph.input("latents", of("hidden_states").shape),
            text: graph.input("text", of("encoder_hidden_states").shape),
            timestep: graph.input("timestep", [1]),
          },
          "f32",
          loras,
        ),
      );
      using store = new WeightStore(gpu, provider);
      using program = await Program.create(gpu, compile(graph, gpu.caps), store);
      for (const name of graph.inputs.keys()) if (factorWeight(name)) program.write(name, live.factors(factorWeight(name)!));
      await program.run({
        inputs: { latents: of("hidden_states").data, text: of("encoder_hidden_states").data, timestep: of("timestep").data },
      });
      const error = relativeL2(await program.read("sample"), want);
      if (mode === "without") expect(error).toBeGreaterThan(1e-3);
      else expect(error, mode).toBeLessThan(1e-5);
    }
  });

  it("merged, changes of several ranks are added in f32 before the weight is rounded", async () => {
    const [out, inner] = [300, 1000];
    const weight = values(out * inner, 90);
    const changes = [
      [2, 0.5],
      [5, -1.5],
    ].map(([rank, factor], i) => ({ rank: rank!, factor: factor!, up: values(out * rank!, 91 + i), down: values(rank! * inner, 95 + i) }));
    const want = Float64Array.from(weight);
    for (const { rank, factor, up, down } of changes)
      for (let o = 0; o < out; o++)
        for (let r = 0; r < rank; r++)
          for (let i = 0; i < inner; i++) want[o * inner + i]! += factor * up[o * rank + r]! * down[r * inner + i]!;
    const provider = withLoras(memoryWeights({ w: { data: weight, shape: [out, inner] } }), new Map([["w", changes]]));
    for (const dtype of ["f32", "f16"] as const) {
      using store = new WeightStore(gpu, provider);
      const shape = [out, inner];
      const request = { key: "w", names: ["w"], shape, packing: "natural" as const, dtype, bytes: packedBytes(shape, "natural", dtype) };
      await store.load([request]);
      const got = widen(await gpu.read(store.get("w"), 0, request.bytes), dtype);
      expect(relativeL2(got, Float32Array.from(want))).toBeLessThan(dtype === "f16" ? 1e-3 : 1e-6);
    }
  });

  it("on every kind of module, in every way to name a file, alike", async () => {
    await using plainModel = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    await using kept = await CogVideoX.open(folder, { gpu, dtype: "f32", keep: true });
    const tensors = pairs(MODULES, 5, 100, plain);
    const bytes = fileOf(tensors);
    await mkdir(join(files, "saved"));
    await writeFile(join(files, "a.safetensors"), bytes);
    await writeFile(join(files, "saved/pytorch_lora_weights.safetensors"), bytes);
    const without = await latents(plainModel);
    const merged = await latents(plainModel, { loras: [{ adapter: join(files, "a.safetensors"), scale: 0.7 }] });
    expect(relativeL2(merged, without)).toBeGreaterThan(1e-3);
    for (const adapter of [join(files, "saved"), bytes, await loadLora(bytes), new URL(`file://${files}/a.safetensors`)])
      expect(relativeL2(await latents(plainModel, { loras: [{ adapter, scale: 0.7 }] }), merged)).toBe(0);
    expect(relativeL2(await latents(kept, { loras: [{ adapter: bytes, scale: 0.7 }] }), merged)).toBeLessThan(1e-5);
    const two = [
      { adapter: bytes, scale: 0.4 },
      { adapter: fileOf(pairs({ proj_out: [16, 32] }, 3, 200, plain)), scale: -1 },
    ];
    expect(relativeL2(await latents(kept, { loras: two }), await latents(plainModel, { loras: two }))).toBeLessThan(1e-5);
    const alphas = fileOf(tensors, { lora_adapter_metadata: JSON.stringify({ "transformer.r": 5, "transformer.lora_alpha": 3.5 }) });
    expect(relativeL2(await latents(plainModel, { loras: [{ adapter: alphas }] }), merged), "an alpha of 0.7 times the rank").toBeLessThan(
      1e-6,
    );
    expect(relativeL2(await latents(plainModel, { loras: [{ adapter: bytes, scale: 0 }] }), without)).toBe(0);
  });
});

describe("kept parts", () => {
  it("adapters come, change and go without reading a weight or compiling again; gone, the bytes are those of before", async () => {
    const reads: string[] = [];
    const { openSource } = await import("../../src/hub/open-node.ts");
    const inner = await openSource(folder);
    const source = new Proxy(inner, {
      get: (target, key) => {
        const value = Reflect.get(target, key, target) as unknown;
        if (key === "read")
          return (path: string, ...rest: unknown[]) => {
            reads.push(path);
            return (value as (...args: unknown[]) => unknown).call(target, path, ...rest);
          };
        return typeof value === "function" ? (value as (...args: unknown[]) => unknown).bind(target) : value;
      },
    });
    const before = gpu.memory.allocated;
    {
      await using model = await CogVideoX.open(source, { gpu, dtype: "f32", keep: true });
      const lora = await loadLora(fileOf(pairs(MODULES, 5, 100, plain)));
      const first = await latents(model);
      reads.length = 0;
      const compiled = gpu.pipelines.stats.compiled;
      expect(relativeL2(await latents(model), first)).toBe(0);
      expect(gpu.pipelines.stats.compiled, "a second run compiles nothing").toBe(compiled);
      const one = await latents(model, { loras: [{ adapter: lora, scale: 1 }] });
      const withLora = gpu.pipelines.stats.compiled;
      const half = await latents(model, { loras: [{ adapter: lora, scale: 0.5 }] });
      expect(gpu.pipelines.stats.compiled, "another scale compiles nothing").toBe(withLora);
      expect(relativeL2(one, first)).toBeGreaterThan(1e-3);
      expect(relativeL2(half, one)).toBeGreaterThan(1e-4);
      expect(relativeL2(await latents(model, { loras: [{ adapter: lora, scale: 1 }] }), one)).toBe(0);
      expect(relativeL2(await latents(model), first), "without adapters again").toBe(0);
      expect(reads.filter((path) => path.endsWith(".safetensors"))).toEqual([]);
      const held = gpu.memory.allocated;
      expect(held).toBeGreaterThan(before);
      model.release();
      expect(gpu.memory.allocated).toBe(before);
      expect(relativeL2(await latents(model), first)).toBe(0);
    }
    expect(gpu.memory.allocated).toBe(before);
  });
});
