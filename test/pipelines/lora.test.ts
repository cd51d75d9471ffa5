import { mkdtemp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeSafetensors } from "../../src/checkpoint/safetensors.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { compile } from "../../src/graph/compile.ts";
import { Graph } from "../../src/graph/graph.ts";
import { Program } from "../../src/graph/program.ts";
import { WeightStore } from "../../src/graph/weights.ts";
import { loraChanges, LoraWeights, withLoras, type LoraTensor } from "../../src/models/lora.ts";
import { parseTransformerConfig } from "../../src/models/transformer/config.ts";
import { factorWeight } from "../../src/models/transformer/linear.ts";
import { recordTransformer } from "../../src/models/transformer/transformer.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox.ts";
import { loadLora } from "../../src/pipelines/lora-file.ts";
import type { GenerateOptions } from "../../src/pipelines/options.ts";
import { caseWeights, readCase } from "../../src/reference/case.ts";
import { relativeL2, values } from "../support/compare.ts";
import { testGpu } from "../support/gpu.ts";
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
// Of the tiny transformer: 32 wide, conditioning of 16.
const MODULES: Record<string, [number, number]> = {
  "transformer_blocks.0.attn1.to_q": [32, 32], "transformer_blocks.0.attn1.to_v": [32, 32], "transformer_blocks.0.attn1.to_out.0": [32, 32],
  "transformer_blocks.0.ff.net.0.proj": [128, 32], "transformer_blocks.0.ff.net.2": [32, 128], "transformer_blocks.0.norm1.linear": [192, 16],
  "patch_embed.proj": [32, 16], "patch_embed.text_proj": [32, 16], "time_embedding.linear_1": [16, 32], "proj_out": [16, 32],
};
/** Pairs for modules, with a name for each key. */
function pairs(modules: Record<string, [number, number]>, rank: number, seed: number, name: (module: string, part: "A" | "B") => string): Map<string, LoraTensor> {
  let number = seed;
  return new Map(Object.entries(modules).flatMap(([module, [out, inner]]) => [
    [name(module, "A"), { shape: [rank, inner], data: values(rank * inner, number++, 0.3) }],
    [name(module, "B"), { shape: [out, rank], data: values(out * rank, number++, 0.3) }],
  ] as [string, LoraTensor][]));
}
const plain = (module: string, part: "A" | "B") => `transformer.${module}.lora_${part}.weight`;
const fileOf = (tensors: ReadonlyMap<string, LoraTensor>, metadata: Record<string, string> = {}) =>
  writeSafetensors(Object.fromEntries([...tensors].map(([name, { shape, data }]) => [name, { dtype: "F32" as const, shape, data }])), metadata);
const latents = async (model: CogVideoX, options: Partial<GenerateOptions> = {}) => (await model.generate({ ...base, ...options })).state.latents;

describe("key names", () => {
  const attention = Object.fromEntries(Object.entries(MODULES).filter(([module]) => module.includes("attn1")));
  const dialects: Record<string, (module: string, part: "A" | "B") => string> = {
    "diffusers": plain,
    "no prefix": (m, p) => `${m}.lora_${p}.weight`,
    "PEFT, saved": (m, p) => `base_model.model.${m}.lora_${p}.weight`,
    "PEFT, state dict": (m, p) => `base_model.model.transformer.${m}.lora_${p}.default.weight`,
    "ComfyUI": (m, p) => `diffusion_model.${m}.lora_${p}.weight`,
    "down and up": (m, p) => `transformer.${m}.lora_${p === "A" ? "down" : "up"}.weight`,
    "lora.down": (m, p) => `transformer.${m}.lora.${p === "A" ? "down" : "up"}.weight`,
    "kohya": (m, p) => `lora_unet_${m.replaceAll(".", "_")}.lora_${p === "A" ? "down" : "up"}.weight`,
    "kohya, VideoX-Fun": (m, p) => `lora_unet__${m.replaceAll(".", "_")}.lora_${p === "A" ? "down" : "up"}.weight`,
    "processors": (m, p) => `transformer.${m.replace(/\.to_([qkv])$/, ".processor.to_$1_lora").replace(".to_out.0", ".processor.to_out_lora")}.${p === "A" ? "down" : "up"}.weight`.replace(/\.(down|up)/, ".lora.$1"),
  };
  const shapes = new Map(Object.entries(MODULES).map(([module, shape]) => [`${module}.weight`, shape]));
  const changesOf = (tensors: ReadonlyMap<string, LoraTensor>, config?: Record<string, unknown>) =>
    [...loraChanges([{ tensors, scale: 0.5, ...(config ? { config } : {}) }], shapes.keys(), (name) => shapes.get(name))].map(([name, list]) => [name, list.map(({ rank, factor, up, down }) => ({ rank, factor, up: up[3], down: down[5] }))]).sort();
  const want = changesOf(pairs(attention, 3, 50, plain));

  it.for(Object.keys(dialects))("%s: the same changes", (dialect) => {
    expect(want.length).toBe(3);
    expect(changesOf(pairs(attention, 3, 50, dialects[dialect]!))).toEqual(want);
  });

  it("the authors' own: fused q, k, v by number, and an alpha of 1", () => {
    const own: Record<string, string> = { "transformer_blocks.0.attn1.to_q": "query_key_value.matrix_?.0", "transformer_blocks.0.attn1.to_v": "query_key_value.matrix_?.2", "transformer_blocks.0.attn1.to_out.0": "dense.matrix_?.0" };
    const got = changesOf(pairs(attention, 3, 50, (m, p) => `model.diffusion_model.transformer.layers.0.attention.${own[m]!.replace("?", p)}`));
    const scaled = want.map(([name, list]) => [name, (list as { factor: number }[]).map((c) => ({ ...c, factor: 0.5 / 3 }))]);
    expect(got).toEqual(scaled);
  });

  it("rank and alpha: a tensor, PEFT's config, patterns, rsLoRA", () => {
    const tensors = pairs({ "transformer_blocks.0.attn1.to_q": [32, 32] }, 4, 60, plain);
    const factor = (extra: [string, LoraTensor][] = [], config?: Record<string, unknown>) => (changesOf(new Map([...tensors, ...extra]), config)[0]![1] as { factor: number }[])[0]!.factor;
    const alpha: [string, LoraTensor] = ["transformer.transformer_blocks.0.attn1.to_q.alpha", { shape: [], data: Float32Array.of(2) }];
    expect(factor()).toBe(0.5);
    expect(factor([alpha])).toBe(0.25);
    expect(factor([], { lora_alpha: 8 })).toBe(1);
    expect(factor([], { lora_alpha: 8, alpha_pattern: { "attn1.to_q": 16 } })).toBe(2);
    expect(factor([], { lora_alpha: 8, use_rslora: true })).toBe(2);
  });

  it.for<[string, Map<string, LoraTensor>, RegExp]>([
    ["another model's", pairs({ "blocks.0.attn.qkv": [32, 32] }, 2, 70, plain), /adapter 1: an adapter must change weights of this model, got transformer\.blocks\.0\.attn\.qkv\.lora_A\.weight, which would be blocks\.0\.attn\.qkv\.weight/],
    ["another width", pairs({ "transformer_blocks.0.attn1.to_q": [64, 64] }, 2, 70, plain), /must change transformer_blocks\.0\.attn1\.to_q\.weight \[32, 32\], got a change of \[64, 64\]/],
    ["half a pair", new Map([...pairs({ proj_out: [16, 32] }, 2, 70, plain)].slice(0, 1)), /proj_out\.lora_A\.weight \[2, 32\] needs its counterpart, got none/],
    ["two ranks", new Map([...pairs({ proj_out: [16, 32] }, 2, 70, plain)].map(([k, t]) => (k.includes("lora_B") ? [k, { shape: [16, 3], data: new Float32Array(48) }] : [k, t])) as [string, LoraTensor][]), /must share a rank, got \[2, 32\] and \[16, 3\]/],
    ["DoRA", new Map([["transformer.proj_out.lora_magnitude_vector", { shape: [16], data: new Float32Array(16) }]]), /DoRA is not supported/],
    ["a text encoder's", pairs({ "text_encoder.encoder.block.0.q": [4, 4] }, 2, 70, (m, p) => `${m}.lora_${p}.weight`), /adapters of the text encoder are not supported/],
    ["no adapter", new Map([["decoder.conv_in.weight", { shape: [1], data: new Float32Array(1) }]]), /keys must be those of a LoRA .*, got decoder\.conv_in\.weight/],
    ["nothing", new Map(), /at least one pair of matrices, got none/],
  ])("refuses %s", ([, tensors, message]) => {
    expect(() => changesOf(tensors)).toThrow(message);
  });
});

describe("merged and live", () => {
  it("both are the reference's, two adapters of other ranks, scales and alphas on one weight", async () => {
    const path = join(import.meta.dirname, "../reference/cases/CogVideoXTransformer3DModel/5b_lora.safetensors");
    const c = await readCase(new Uint8Array(await readFile(path)), "5b_lora");
    const scales = c.options["lora"] as number[];
    expect(scales.length).toBe(2);
    const weights = caseWeights(c, "f32");
    const changes = loraChanges(c.loras.map((tensors, i) => ({ tensors, scale: scales[i]! })), weights.names(), (name) => weights.shape(name));
    const live = new LoraWeights(changes, (name) => weights.shape(name));
    const want = c.outputs.get("sample")!.data;
    const config = parseTransformerConfig(c.config);
    for (const [mode, provider, loras] of [["merged", withLoras(weights, changes), undefined], ["live", live.provider(weights), live], ["without", weights, undefined]] as const) {
      const graph = new Graph(mode, (name) => provider.type(name));
      const of = (name: string) => c.inputs.get(name)!;
      graph.output("sample", recordTransformer(graph, config, { latents: graph.input("latents", of("hidden_states").shape), text: graph.input("text", of("encoder_hidden_states").shape), timestep: graph.input("timestep", [1]) }, "f32", loras));
      using store = new WeightStore(gpu, provider);
      using program = await Program.create(gpu, compile(graph, gpu.caps), store);
      for (const name of graph.inputs.keys()) if (factorWeight(name)) program.write(name, live.factors(factorWeight(name)!));
      await program.run({ inputs: { latents: of("hidden_states").data, text: of("encoder_hidden_states").data, timestep: of("timestep").data } });
      const error = relativeL2(await program.read("sample"), want);
      if (mode === "without") expect(error).toBeGreaterThan(1e-3);
      else expect(error, mode).toBeLessThan(1e-5);
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
    for (const adapter of [join(files, "saved"), bytes, await loadLora(bytes), new URL(`file://${files}/a.safetensors`)]) expect(relativeL2(await latents(plainModel, { loras: [{ adapter, scale: 0.7 }] }), merged)).toBe(0);
    expect(relativeL2(await latents(kept, { loras: [{ adapter: bytes, scale: 0.7 }] }), merged)).toBeLessThan(1e-5);
    const two = [{ adapter: bytes, scale: 0.4 }, { adapter: fileOf(pairs({ "proj_out": [16, 32] }, 3, 200, plain)), scale: -1 }];
    expect(relativeL2(await latents(kept, { loras: two }), await latents(plainModel, { loras: two }))).toBeLessThan(1e-5);
    const alphas = fileOf(tensors, { lora_adapter_metadata: JSON.stringify({ "transformer.r": 5, "transformer.lora_alpha": 3.5 }) });
    expect(relativeL2(await latents(plainModel, { loras: [{ adapter: alphas }] }), merged), "an alpha of 0.7 times the rank").toBeLessThan(1e-6);
    expect(relativeL2(await latents(plainModel, { loras: [{ adapter: bytes, scale: 0 }] }), without)).toBe(0);
  });
});

describe("kept parts", () => {
  it("adapters come, change and go without reading a weight or compiling again; gone, the bytes are those of before", async () => {
    const reads: string[] = [];
    const { openSource } = await import("../../src/checkpoint/open-node.ts");
    const inner = await openSource(folder);
    const source = new Proxy(inner, { get: (target, key) => {
      const value = Reflect.get(target, key, target) as unknown;
      if (key === "read") return (path: string, ...rest: unknown[]) => { reads.push(path); return (value as (...args: unknown[]) => unknown).call(target, path, ...rest); };
      return typeof value === "function" ? (value as (...args: unknown[]) => unknown).bind(target) : value;
    } });
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

describe("what is given in place of an adapter", () => {
  it.for<[string, GenerateOptions["loras"], RegExp]>([
    ["no file", [{ adapter: "nowhere.safetensors" }], /nowhere\.safetensors/],
    ["a folder without one", [{ adapter: "test" }], /an adapter must be a \.safetensors file, or a folder with pytorch_lora_weights\.safetensors or adapter_model\.safetensors, got test/],
    ["no list", "a.safetensors" as never, /loras must be a list of \{ adapter, scale \}/],
    ["no scale", [{ adapter: fileOf(pairs({ proj_out: [16, 32] }, 2, 1, plain)), scale: NaN }], /the scale must be a finite number, got NaN/],
  ])("%s is refused", async ([, loras, message]) => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    await expect(model.generate({ ...base, loras: loras! })).rejects.toThrow(message);
  });
});
