import { mkdtemp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { compile } from "../../src/plan/compile.ts";
import { Graph } from "../../src/graph/graph.ts";
import { packedBytes } from "../../src/graph/packing.ts";
import { Program, widen } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { LoraWeights, withLoras, type LoraTensor } from "../../src/models/lora/merge.ts";
import { loraChanges } from "../../src/models/lora/changes.ts";
import { readLoraConfig } from "../../src/models/lora/config.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { factorWeight } from "../../src/models/cogvideox/linear.ts";
import { recordTransformer } from "../../src/models/cogvideox/forward.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { loadLora } from "../../src/pipelines/lora-file.ts";
import type { GenerateOptions } from "../../src/pipelines/options.ts";
import { caseWeights, readCase } from "../../src/check/reference/case.ts";
import { relativeL2, values } from "../support/compare.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";
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
  "transformer_blocks.0.attn1.to_q": [32, 32],
  "transformer_blocks.0.attn1.to_v": [32, 32],
  "transformer_blocks.0.attn1.to_out.0": [32, 32],
  "transformer_blocks.0.ff.net.0.proj": [128, 32],
  "transformer_blocks.0.ff.net.2": [32, 128],
  "transformer_blocks.0.norm1.linear": [192, 16],
  "patch_embed.proj": [32, 16],
  "patch_embed.text_proj": [32, 16],
  "time_embedding.linear_1": [16, 32],
  proj_out: [16, 32],
};
/** Pairs for modules, with a name for each key. */
function pairs(
  modules: Record<string, [number, number]>,
  rank: number,
  seed: number,
  name: (module: string, part: "A" | "B") => string,
): Map<string, LoraTensor> {
  let number = seed;
  return new Map(
    Object.entries(modules).flatMap(
      ([module, [out, inner]]) =>
        [
          [name(module, "A"), { shape: [rank, inner], data: values(rank * inner, number++, 0.3) }],
          [name(module, "B"), { shape: [out, rank], data: values(out * rank, number++, 0.3) }],
        ] as [string, LoraTensor][],
    ),
  );
}
const plain = (module: string, part: "A" | "B") => `transformer.${module}.lora_${part}.weight`;
const fileOf = (tensors: ReadonlyMap<string, LoraTensor>, metadata: Record<string, string> = {}) =>
  writeSafetensors(
    Object.fromEntries([...tensors].map(([name, { shape, data }]) => [name, { dtype: "F32" as const, shape, data }])),
    metadata,
  );
const latents = async (model: CogVideoX, options: Partial<GenerateOptions> = {}) =>
  (await model.generate({ ...base, ...options })).state.latents;

describe("key names", () => {
  const attention = Object.fromEntries(Object.entries(MODULES).filter(([module]) => module.includes("attn1")));
  const processor = (module: string) =>
    module.replace(/\.to_([qkv])$/, ".processor.to_$1_lora").replace(".to_out.0", ".processor.to_out_lora");
  const dialects: Record<string, (module: string, part: "A" | "B") => string> = {
    diffusers: plain,
    "no prefix": (m, p) => `${m}.lora_${p}.weight`,
    "PEFT, saved": (m, p) => `base_model.model.${m}.lora_${p}.weight`,
    "PEFT, state dict": (m, p) => `base_model.model.transformer.${m}.lora_${p}.default.weight`,
    ComfyUI: (m, p) => `diffusion_model.${m}.lora_${p}.weight`,
    "down and up": (m, p) => `transformer.${m}.lora_${p === "A" ? "down" : "up"}.weight`,
    "lora.down": (m, p) => `transformer.${m}.lora.${p === "A" ? "down" : "up"}.weight`,
    kohya: (m, p) => `lora_unet_${m.replaceAll(".", "_")}.lora_${p === "A" ? "down" : "up"}.weight`,
    "kohya, VideoX-Fun": (m, p) => `lora_unet__${m.replaceAll(".", "_")}.lora_${p === "A" ? "down" : "up"}.weight`,
    processors: (m, p) => `transformer.${processor(m)}.${p === "A" ? "down" : "up"}.weight`,
    "processors, with lora": (m, p) => `transformer.${processor(m)}.lora.${p === "A" ? "down" : "up"}.weight`,
    "linear layers": (m, p) => `transformer.${m}.lora_linear_layer.${p === "A" ? "down" : "up"}.weight`,
    "kohya, the transformer's": (m, p) => `lora_transformer_${m.replaceAll(".", "_")}.lora_${p === "A" ? "down" : "up"}.weight`,
  };
  const shapes = new Map(Object.entries(MODULES).map(([module, shape]) => [`${module}.weight`, shape]));
  const changesOf = (tensors: ReadonlyMap<string, LoraTensor>, config?: Record<string, unknown>) =>
    [...loraChanges([{ tensors, scale: 0.5, ...(config ? { config } : {}) }], shapes.keys(), (name) => shapes.get(name))]
      .map(([name, list]) => [name, list.map(({ rank, factor, up, down }) => ({ rank, factor, up: up[3], down: down[5] }))])
      .sort();
  const want = changesOf(pairs(attention, 3, 50, plain));

  it.for(Object.keys(dialects))("%s: the same changes", (dialect) => {
    expect(want.length).toBe(3);
    expect(changesOf(pairs(attention, 3, 50, dialects[dialect]!))).toEqual(want);
  });

  it("the authors' own: fused q, k, v by number, and an alpha of 1", () => {
    const own: Record<string, string> = {
      "transformer_blocks.0.attn1.to_q": "query_key_value.matrix_?.0",
      "transformer_blocks.0.attn1.to_v": "query_key_value.matrix_?.2",
      "transformer_blocks.0.attn1.to_out.0": "dense.matrix_?.0",
    };
    const got = changesOf(
      pairs(attention, 3, 50, (m, p) => `model.diffusion_model.transformer.layers.0.attention.${own[m]!.replace("?", p)}`),
    );
    const scaled = want.map(([name, list]) => [name, (list as { factor: number }[]).map((c) => ({ ...c, factor: 0.5 / 3 }))]);
    expect(got).toEqual(scaled);
  });

  it("rank and alpha: a tensor, PEFT's config, patterns, rsLoRA", () => {
    const tensors = pairs({ "transformer_blocks.0.attn1.to_q": [32, 32] }, 4, 60, plain);
    const factor = (extra: [string, LoraTensor][] = [], config?: Record<string, unknown>) =>
      (changesOf(new Map([...tensors, ...extra]), config)[0]![1] as { factor: number }[])[0]!.factor;
    const alpha: [string, LoraTensor] = ["transformer.transformer_blocks.0.attn1.to_q.alpha", { shape: [], data: Float32Array.of(2) }];
    expect(factor()).toBe(0.5);
    expect(factor([alpha])).toBe(0.25);
    expect(factor([], { r: 4, lora_alpha: 8 })).toBe(1);
    expect(factor([], { r: 4, lora_alpha: 8, alpha_pattern: { "attn1.to_q": 16 } })).toBe(2);
    expect(factor([], { r: 4, lora_alpha: 8, use_rslora: true })).toBe(2);
  });

  describe("PEFT's config", () => {
    const tensors = pairs(
      { "transformer_blocks.0.attn1.to_q": [32, 32], "transformer_blocks.0.attn1.to_out.0": [32, 32], proj_out: [16, 32] },
      4,
      60,
      (m, p) => `base_model.model.${m}.lora_${p}.weight`,
    );
    const factors = (config: Record<string, unknown>) =>
      Object.fromEntries(
        changesOf(tensors, { r: 4, lora_alpha: 4, ...config }).map(([name, list]) => [
          (name as string).replace(/\.weight$/, ""),
          2 * (list as { factor: number }[])[0]!.factor,
        ]),
      );
    const want = (q: number, out: number, proj: number) => ({
      "transformer_blocks.0.attn1.to_q": q,
      "transformer_blocks.0.attn1.to_out.0": out,
      proj_out: proj,
    });

    it.for<[string, Record<string, number>, ReturnType<typeof want>]>([
      ["the end of a name", { to_q: 8 }, want(2, 1, 1)],
      ["no part of a word", { o_q: 8, out: 8 }, want(1, 1, 1)],
      ["alternatives", { "to_q|to_k": 8 }, want(2, 1, 1)],
      ["classes and escapes", { "transformer_blocks\\.[0-2]\\.attn1\\.to_[qk]": 8 }, want(2, 1, 1)],
      ["anchored", { "^transformer_blocks.0.attn1.to_q": 8, "^attn1.to_out.0": 8 }, want(2, 1, 1)],
      ["the first that matches", { "attn1\\..*": 8, to_q: 16, ".*": 2 }, want(2, 2, 0.5)],
      ["a negative alpha, and 0", { to_q: -8, proj_out: 0 }, want(-2, 1, 0)],
      ["Python's own syntax", { "(?P<part>to_q)\\Z": 8, "(?i:PROJ)_out": 12, "(?<=to_)out\\.\\d{,2}": 2 }, want(2, 1, 3)],
      ["what leaves PEFT's brackets", { "zz)|(proj_out": 8 }, want(1, 1, 2)],
    ])("alpha_pattern: %s", ([, alpha_pattern, expected]) => {
      expect(factors({ alpha_pattern })).toEqual(expected);
    });

    it("what leaves the brackets again needs no end: PEFT's match is not of the whole name", () => {
      expect(factors({ alpha_pattern: { "transformer_blocks)|(x": 8 } })).toEqual(want(2, 2, 1));
    });

    it("a rank that is not the file's, also by PEFT's default or a pattern, is refused", () => {
      expect(() => factors({ r: undefined })).toThrow(
        /r and rank_pattern of the config must be the rank of the matrices, got 8 for .*\[4, 32\]/,
      );
      expect(() => factors({ rank_pattern: { to_q: 2 } })).toThrow(/got 2 for base_model\.model\.transformer_blocks\.0\.attn1\.to_q/);
      expect(factors({ r: 2, rank_pattern: { "to_.*": 4, proj_out: 4 } })).toEqual(want(1, 1, 1));
    });

    it.for([
      ["plain", "", ""],
      ["escaped", "\\", ""],
      ["anchored", "", "^$"],
      ["escaped and anchored", "\\", "^$"],
      ["in brackets", "\\", "()"],
      ["beside others", "\\", "(|zz)"],
    ] as const)("a table of all modules, %s", ([, dot, [before = "", after = "", ...more]]) => {
      const modules = Array.from(
        { length: 252 },
        (_, i) => `transformer_blocks.${i >> 2}.attn1.${["to_q", "to_k", "to_v", "to_out.0"][i % 4]}`,
      );
      const table = Object.fromEntries(modules.map((name, i) => [before + name.replaceAll(".", `${dot}.`) + after + more.join(""), i + 1]));
      const config = readLoraConfig({ rank_pattern: table, alpha_pattern: table }, "an adapter");
      for (const [i, name] of modules.entries())
        expect([config.rank(name), config.alpha(name), config.rank(`x.${name}.y`)]).toEqual([i + 1, i + 1, 8]);
    });

    it("a pattern that would make a backtracking matcher try for years", () => {
      const start = performance.now();
      expect(
        factors({ alpha_pattern: { "((([a-z_.0-9]*)*)*)*!": 8, [`${"(a?".repeat(40)}${")".repeat(40)}${"a".repeat(40)}`]: 8 } }),
      ).toEqual(want(1, 1, 1));
      expect(performance.now() - start).toBeLessThan(2000);
      expect(() => factors({ alpha_pattern: { "(((a{1000}){1000}){1000})": 8 } })).toThrow(
        /alpha_pattern must hold regular expressions of Python, got .*: its repeats unfold to more than 20000 steps/,
      );
      expect(() =>
        factors({ alpha_pattern: Object.fromEntries(Array.from({ length: 9000 }, (_, i) => [`(${".*".repeat(400)})*${i}!`, 8])) }),
      ).toThrow(/all patterns together take too long/);
    });

    it.for<[string, Record<string, unknown>, RegExp]>([
      [
        "loftq",
        { init_lora_weights: "loftq" },
        /init_lora_weights must leave the model's weights as they are, got "loftq"; .*: merge it into the model with PEFT/,
      ],
      ...["pissa", "pissa_niter_16", "olora", "OLORA", "corda", "lora_ga"].map((init): [string, Record<string, unknown>, RegExp] => [
        init,
        { init_lora_weights: init },
        new RegExp(
          `init_lora_weights must leave the model's weights as they are, got "${init}"; .*path_initial_model_for_weight_conversion`,
        ),
      ]),
      ["an init of tomorrow", { init_lora_weights: "zen" }, /init_lora_weights must be true, false or one of gaussian, .*, got "zen"/],
      ["DoRA", { use_dora: true }, /use_dora must be off, got true; DoRA is not supported: merge it/],
      ["a bias beside the matrices", { lora_bias: true }, /lora_bias must be off/],
      ["biases", { bias: "lora_only" }, /bias must be "none", got "lora_only"/],
      ["whole modules", { modules_to_save: ["proj_out"] }, /modules_to_save must be off, got \["proj_out"\]/],
      ["tokens", { trainable_token_indices: [1, 2] }, /trainable_token_indices must be off/],
      [
        "replicated layers",
        {
          layer_replication: [
            [0, 1],
            [0, 1],
          ],
        },
        /layer_replication must be off/,
      ],
      ["another method", { peft_type: "LOHA" }, /peft_type must be LORA, got "LOHA"/],
      [
        "a field of tomorrow",
        { use_wizardry: true },
        /fields of PEFT's LoraConfig, got "use_wizardry": true; what it asks for would not be done/,
      ],
      ["no rank", { r: 0 }, /r must be a whole number from 1, got 0/],
      ["a rank that is no number", { r: "4" }, /r must be a whole number from 1, got "4"/],
      ["no alpha", { lora_alpha: null }, /lora_alpha must be a finite number, got null/],
      ["a pattern's value", { alpha_pattern: { to_q: "8" } }, /alpha_pattern of "to_q" must be a finite number, got "8"/],
      [
        "a pattern that Python refuses",
        { alpha_pattern: { "to_(q": 8 } },
        /alpha_pattern must hold regular expressions of Python, got "to_\(q": a group is not closed/,
      ],
      ["a pattern that no automaton matches", { alpha_pattern: { "(to)_\\1": 8 } }, /the backreference \\1 is not supported/],
      [
        "numbers for names, whose order is lost",
        { alpha_pattern: { "attn1.to_out.0": 8, "0": 4 } },
        /alpha_pattern must say one value of a module, got "0": 4 and "attn1\.to_out\.0": 8 for .*; write \(\?:0\) for a number/,
      ],
      [
        "modules that PEFT would not load",
        { target_modules: ["to_q"] },
        /the config's target_modules must name what the file holds, got .*to_out\.0\.lora_A\.weight, which PEFT would not load/,
      ],
      ["the same by a pattern", { target_modules: ".*\\.to_q" }, /the config's target_modules must name/],
      ["excluded modules", { exclude_modules: ["proj_out"] }, /the config's exclude_modules must name/],
      [
        "other layers",
        { target_modules: ["to_q", "to_out.0", "proj_out"], layers_to_transform: [1], layers_pattern: "transformer_blocks" },
        /the config's layers_to_transform must name/,
      ],
    ])("refuses %s", ([, config, message]) => {
      expect(() => factors(config)).toThrow(message);
    });

    it("fields that are off, of no effect, or of PEFT's own file, are read", () => {
      const saved = {
        alora_invocation_tokens: null,
        arrow_config: null,
        auto_mapping: { base_model_class: "X" },
        base_model_name_or_path: "x",
        bias: "none",
        corda_config: null,
        ensure_weight_tying: false,
        eva_config: null,
        exclude_modules: null,
        fan_in_fan_out: false,
        inference_mode: true,
        init_lora_weights: "gaussian",
        kasa_config: null,
        layer_replication: null,
        layers_pattern: null,
        layers_to_transform: null,
        loftq_config: {},
        lora_bias: false,
        lora_dropout: 0.1,
        lora_ga_config: null,
        megatron_config: null,
        megatron_core: "megatron.core",
        modules_to_save: null,
        monteclora_config: null,
        peft_type: "LORA",
        peft_version: "0.21.2",
        qalora_group_size: 16,
        rank_pattern: {},
        revision: null,
        target_modules: ["to_q", "to_out.0", "proj_out"],
        target_parameters: null,
        task_type: null,
        trainable_token_indices: null,
        use_bdlora: null,
        use_dora: false,
        use_qalora: false,
        use_rslora: false,
        velora_config: null,
        a_switch_of_tomorrow: false,
      };
      expect(factors({ ...saved, target_modules: ".*(to_q|to_out\\.0|proj_out)" })).toEqual(want(1, 1, 1));
      expect(factors({ ...saved, target_modules: "all-linear" })).toEqual(want(1, 1, 1));
      expect(factors(saved)).toEqual(want(1, 1, 1));
    });

    it("an alpha in the file that contradicts the config is refused", () => {
      const both = (alpha: number) =>
        changesOf(new Map([...tensors, ["base_model.model.proj_out.alpha", { shape: [], data: Float32Array.of(alpha) }]]), {
          r: 4,
          lora_alpha: 4,
        });
      expect(() => both(2)).toThrow(/proj_out\.alpha and the config's lora_alpha must be equal, got 2 and 4/);
      expect(both(4).length).toBe(3);
    });
  });

  it.for<[string, string, RegExp]>([
    ["LoHa", "proj_out.hada_w1_a", /LoHa is not supported/],
    ["LoKr", "transformer.proj_out.lokr_w1", /LoKr/],
    ["AdaLoRA", "base_model.model.proj_out.lora_E", /AdaLoRA/],
    ["IA3", "base_model.model.proj_out.ia3_l", /IA3/],
    ["VeRA", "base_model.model.proj_out.vera_lambda_b", /VeRA/],
    ["OFT", "base_model.model.proj_out.oft_r", /OFT/],
    ["Tucker", "lora_unet_proj_out.lora_mid.weight", /Tucker/],
    ["a bias of B", "transformer.proj_out.lora_B.bias", /lora_bias/],
    ["a difference", "diffusion_model.proj_out.diff_b", /whole weights/],
    ["a bias", "base_model.model.proj_out.bias", /biases beside the pairs/],
    ["a whole weight", "base_model.model.proj_out.weight", /modules_to_save/],
    ["a text encoder's", "base_model.model.text_encoder.block.0.q.lora_A.weight", /text encoder/],
    ["nothing known", "transformer.proj_out.lora_C.weight", /this is no adapter, or it changes what is not supported/],
  ])("names tensors of %s", ([, key, message]) => {
    const known = new Map([...shapes, ["proj_out.bias", [16]]]);
    const tensors = new Map([...pairs({ proj_out: [16, 32] }, 2, 70, plain), [key, { shape: [1], data: new Float32Array(1) }]]);
    expect(() => loraChanges([{ tensors, scale: 1 }], known.keys(), (name) => known.get(name))).toThrow(message);
    expect(() => loraChanges([{ tensors, scale: 1 }], known.keys(), (name) => known.get(name))).toThrow(key);
  });

  it.for<[string, Map<string, LoraTensor>, RegExp]>([
    [
      "another model's",
      pairs({ "blocks.0.attn.qkv": [32, 32] }, 2, 70, plain),
      /adapter 1: an adapter must change weights of this model, got transformer\.blocks\.0\.attn\.qkv\.lora_A\.weight, which would be blocks\.0\.attn\.qkv\.weight/,
    ],
    [
      "another width",
      pairs({ "transformer_blocks.0.attn1.to_q": [64, 64] }, 2, 70, plain),
      /must change transformer_blocks\.0\.attn1\.to_q\.weight \[32, 32\], got a change of \[64, 64\]/,
    ],
    [
      "half a pair",
      new Map([...pairs({ proj_out: [16, 32] }, 2, 70, plain)].slice(0, 1)),
      /proj_out\.lora_A\.weight \[2, 32\] needs its counterpart, got none/,
    ],
    [
      "two ranks",
      new Map(
        [...pairs({ proj_out: [16, 32] }, 2, 70, plain)].map(([k, t]) =>
          k.includes("lora_B") ? [k, { shape: [16, 3], data: new Float32Array(48) }] : [k, t],
        ) as [string, LoraTensor][],
      ),
      /must share a rank, got \[2, 32\] and \[16, 3\]/,
    ],
    [
      "DoRA",
      new Map([["transformer.proj_out.lora_magnitude_vector", { shape: [16], data: new Float32Array(16) }]]),
      /DoRA is not supported/,
    ],
    [
      "a text encoder's",
      pairs({ "text_encoder.encoder.block.0.q": [4, 4] }, 2, 70, (m, p) => `${m}.lora_${p}.weight`),
      /adapters of the text encoder are not supported/,
    ],
    [
      "no adapter",
      new Map([["decoder.conv_in.weight", { shape: [1], data: new Float32Array(1) }]]),
      /keys must be those of a LoRA .*, got decoder\.conv_in\.weight/,
    ],
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

describe("files and their configs", () => {
  const peft = (module: string, part: "A" | "B") => `base_model.model.${module}.lora_${part}.weight`;
  const config = { peft_type: "LORA", r: 5, lora_alpha: 10, target_modules: ["proj_out"] };

  it("PEFT's folder is read with its config, its file alone is not", async () => {
    const bytes = fileOf(pairs({ proj_out: [16, 32] }, 5, 1, peft));
    await mkdir(join(files, "peft"));
    await writeFile(join(files, "peft/adapter_model.safetensors"), bytes);
    await expect(loadLora(join(files, "peft"))).rejects.toThrow(
      /an adapter that PEFT saved must have adapter_config\.json beside it, which holds its lora_alpha, got none/,
    );
    await expect(loadLora(bytes)).rejects.toThrow(/got none; give the folder that holds both, or loadLora\(bytes, \{ config \}\)/);
    await writeFile(join(files, "peft/adapter_config.json"), JSON.stringify(config));
    expect((await loadLora(join(files, "peft"))).config).toEqual(config);
    expect((await loadLora(join(files, "peft/adapter_model.safetensors"))).config).toEqual(config);
    expect((await loadLora(bytes, { config })).config).toEqual(config);
    // A config of PEFT's says nothing of a file of diffusers' beside it.
    await writeFile(join(files, "peft/other.safetensors"), fileOf(pairs({ proj_out: [16, 32] }, 5, 1, plain)));
    expect((await loadLora(join(files, "peft/other.safetensors"))).config).toBeUndefined();
  });

  it("diffusers' metadata is read as diffusers reads it", async () => {
    const load = (metadata: Record<string, unknown>, name = plain) =>
      loadLora(fileOf(pairs({ proj_out: [16, 32] }, 5, 1, name), { lora_adapter_metadata: JSON.stringify(metadata) }));
    expect(
      (
        await load({
          "transformer.r": 5,
          "transformer.lora_alpha": 10,
          "transformer.target_modules": ["to_q"],
          "transformer.exclude_modules": ".*",
        })
      ).config,
    ).toEqual({ r: 5, lora_alpha: 10 });
    expect((await load(config, (module, part) => `${module}.lora_${part}.weight`)).config).toEqual({
      peft_type: "LORA",
      r: 5,
      lora_alpha: 10,
    });
    // In a file, patterns that are numbers keep their place.
    const ordered = await loadLora(
      fileOf(pairs({ "transformer_blocks.0.attn1.to_out.0": [32, 32] }, 5, 1, plain), {
        lora_adapter_metadata: '{"transformer.r":5,"transformer.alpha_pattern":{"to_out.0":10,"0":20}}',
      }),
    );
    expect(
      [
        ...loraChanges([{ ...ordered, scale: 1 }], ["transformer_blocks.0.attn1.to_out.0.weight"], (name) =>
          name === "transformer_blocks.0.attn1.to_out.0.weight" ? [32, 32] : undefined,
        ).values(),
      ][0]![0]!.factor,
    ).toBe(2);
    await expect(load({ "transformer.r": 5, "text_encoder.r": 4 })).rejects.toThrow(
      /lora_adapter_metadata must be of the transformer as the tensors are, got "text_encoder\.r"/,
    );
    await expect(
      load({ "transformer.r": [[[[]]]] }).then((a) =>
        loraChanges([{ ...a, scale: 1 }], ["proj_out.weight"], (name) => (name === "proj_out.weight" ? [16, 32] : undefined)),
      ),
    ).rejects.toThrow(/r must be a whole number/);
    expect((await loadLora(writeSafetensors({}, { lora_adapter_metadata: "" }))).config).toBeUndefined();
    await expect(loadLora(writeSafetensors({}, { lora_adapter_metadata: `${"[".repeat(100_000)}` }))).rejects.toThrow(
      /lora_adapter_metadata must nest at most 64 deep/,
    );
  });

  it.for(["adapter_model.bin", "pytorch_lora_weights.bin"])("a folder with %s, and the file itself", async (name) => {
    await mkdir(join(files, name, "in"), { recursive: true });
    await writeFile(join(files, name, "in", name), Uint8Array.of(0x80, 2, 0x7d, 0x71, 0));
    await expect(loadLora(join(files, name, "in"))).rejects.toThrow(
      new RegExp(`must be a \\.safetensors file, got .*${name}; pickles run code when they are read`),
    );
    await expect(loadLora(join(files, name, "in", name))).rejects.toThrow(
      new RegExp(`${name}: must be a safetensors file, got a Python pickle .*; pickles run code`),
    );
  });
});

describe("what is given in place of an adapter", () => {
  it.for<[string, GenerateOptions["loras"], RegExp]>([
    ["no file", [{ adapter: "nowhere.safetensors" }], /nowhere\.safetensors/],
    [
      "a folder without one",
      [{ adapter: "test" }],
      /an adapter must be a \.safetensors file, or a folder with pytorch_lora_weights\.safetensors or adapter_model\.safetensors, got test/,
    ],
    ["no list", "a.safetensors" as never, /loras must be a list of \{ adapter, scale \}/],
    [
      "no scale",
      [{ adapter: fileOf(pairs({ proj_out: [16, 32] }, 2, 1, plain)), scale: NaN }],
      /the scale must be a finite number, got NaN/,
    ],
  ])("%s is refused", async ([, loras, message]) => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    await expect(model.generate({ ...base, loras: loras! })).rejects.toThrow(message);
  });
});
