import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import type { Checkpoint, OpenCheckpointOptions } from "../../src/checkpoint/checkpoint.ts";
import type { SafetensorsDType } from "../../src/files/safetensors-dtype.ts";
import { elements } from "../../src/base/shape.ts";
import { DTYPE_BYTES } from "../../src/files/safetensors-dtype.ts";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { memorySource } from "../../src/sources/memory.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import { TIED_T5_WEIGHTS } from "../../src/models/t5/weights.ts";
import { expectWeights } from "../../src/checkpoint/weight-index.ts";

type Files = Record<string, Uint8Array | string>;

/** A safetensors file of zeros with these shapes. */
function weights(shapes: Record<string, number[]>, dtype: SafetensorsDType = "F32"): Uint8Array {
  return writeSafetensors(
    Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [
        name,
        { dtype, shape, data: new Uint8Array(elements(shape) * DTYPE_BYTES[dtype]).fill(name.length) },
      ]),
    ),
  );
}

const json = (value: unknown): string => JSON.stringify(value);
const TRANSFORMER = "transformer/diffusion_pytorch_model";
const T5 = "text_encoder/model";
const BLOCK = { "patch_embed.proj.weight": [4, 2], "proj_out.weight": [2, 4], "proj_out.bias": [2] };

const FILES: Files = {
  "model_index.json": json({
    _class_name: "CogVideoXPipeline",
    _diffusers_version: "0.30.0",
    scheduler: ["diffusers", "CogVideoXDDIMScheduler"],
    text_encoder: ["transformers", "T5EncoderModel"],
    tokenizer: ["transformers", "T5Tokenizer"],
    transformer: ["diffusers", "CogVideoXTransformer3DModel"],
    vae: ["diffusers", "AutoencoderKLCogVideoX"],
    safety_checker: [null, null],
    force_zeros: false,
  }),
  "scheduler/scheduler_config.json": json({ num_train_timesteps: 1000 }),
  "tokenizer/spiece.model": "not read here",
  "text_encoder/config.json": json({ d_model: 8 }),
  [`${T5}.safetensors`]: weights({ "shared.weight": [16, 8], "encoder.final_layer_norm.weight": [8] }, "BF16"),
  "transformer/config.json": json({ num_layers: 2 }),
  [`${TRANSFORMER}.safetensors`]: weights(BLOCK, "F16"),
  "vae/config.json": json({ latent_channels: 16 }),
  "vae/diffusion_pytorch_model.safetensors": weights({ "conv.weight": [1, 2] }),
};

function without(...paths: string[]): Files {
  return Object.fromEntries(Object.entries(FILES).filter(([path]) => !paths.includes(path)));
}

/** As the pipelines open one. */
const HOUSE = { tied: TIED_T5_WEIGHTS, family: "CogVideoX" };
const open = (files: Files, options?: OpenCheckpointOptions): Promise<Checkpoint> =>
  openCheckpoint(memorySource(files, "my-model"), { ...HOUSE, ...options });

describe("a checkpoint that is right", () => {
  test("opens with its components, configs and weights", async () => {
    await using checkpoint = await open(FILES);
    expect(checkpoint.className).toBe("CogVideoXPipeline");
    expect([...checkpoint.components.keys()]).toEqual(["scheduler", "text_encoder", "tokenizer", "transformer", "vae"]);
    const transformer = checkpoint.component("transformer");
    expect(transformer).toMatchObject({
      library: "diffusers",
      className: "CogVideoXTransformer3DModel",
      config: { num_layers: 2 },
      configFile: "transformer/config.json",
    });
    expect([...transformer.weights!.names()].sort()).toEqual(Object.keys(BLOCK).sort());
    expect(transformer.weights!.get("proj_out.weight")).toMatchObject({ dtype: "F16", shape: [2, 4], file: `${TRANSFORMER}.safetensors` });
    expect(transformer.weights!.totalBytes).toBe(2 * (8 + 8 + 2));
    expect(transformer.weights!.variant).toBeNull();
    expect((await transformer.weights!.read("proj_out.weight", { rowStart: 1 })).bytes).toEqual(new Uint8Array(8).fill(15));
    expect(checkpoint.component("scheduler").weights).toBeNull();
    expect(checkpoint.component("tokenizer")).toMatchObject({ config: {}, configFile: null, weights: null });
  });

  test("only what is asked for is read and checked", async () => {
    const checkpoint = await open(without("vae/config.json", `${TRANSFORMER}.safetensors`), { only: ["scheduler", "text_encoder"] });
    expect([...checkpoint.components.keys()]).toEqual(["scheduler", "text_encoder"]);
  });

  test("reads headers only", async () => {
    const source = memorySource(FILES);
    let bytes = 0;
    await openCheckpoint({
      ...source,
      read: (path, start, end) => ((bytes += path.endsWith(".safetensors") ? end - start : 0), source.read(path, start, end)),
    });
    const data = [...Object.entries(FILES)]
      .filter(([path]) => path.endsWith(".safetensors"))
      .reduce((sum, [, content]) => sum + content.length, 0);
    expect(bytes).toBe(data - (16 * 8 + 8) * 2 - 18 * 2 - 2 * 4);
  });

  test("disposing it, or failing to open, disposes the source", async () => {
    const disposed: string[] = [];
    const watched = (files: Files, name: string): CheckpointSource => ({
      ...memorySource(files),
      [Symbol.asyncDispose]: async () => void disposed.push(name),
    });
    await (await openCheckpoint(watched(FILES, "right")))[Symbol.asyncDispose]();
    await openCheckpoint(watched({}, "wrong")).catch(() => undefined);
    expect(disposed).toEqual(["right", "wrong"]);
  });
});

describe("where weights may lie", () => {
  const shards = (names: [string, string], index: string): Files => ({
    ...without(`${TRANSFORMER}.safetensors`),
    [`transformer/${names[0]}`]: weights({ "patch_embed.proj.weight": [4, 2] }),
    [`transformer/${names[1]}`]: weights({ "proj_out.weight": [2, 4], "proj_out.bias": [2] }),
    [index]: json({
      metadata: { total_size: 1 },
      weight_map: { "patch_embed.proj.weight": names[0], "proj_out.weight": names[1], "proj_out.bias": names[1] },
    }),
  });

  test.each([
    ["plain", ["a-00001-of-00002.safetensors", "a-00002-of-00002.safetensors"], `${TRANSFORMER}.safetensors.index.json`, null],
    [
      "fp16, as libraries write it",
      ["a.fp16-00001-of-00002.safetensors", "a.fp16-00002-of-00002.safetensors"],
      `${TRANSFORMER}.safetensors.index.fp16.json`,
      "fp16",
    ],
    [
      "bf16, as older uploads have it",
      ["a.bf16-00001-of-00002.safetensors", "a.bf16-00002-of-00002.safetensors"],
      `${TRANSFORMER}.bf16.safetensors.index.json`,
      "bf16",
    ],
  ] as const)("shards: %s", async (_, names, index, variant) => {
    const found = (await open(shards([...names], index))).component("transformer").weights!;
    expect(found.variant).toBe(variant);
    expect(found.size).toBe(3);
    expect(found.files).toEqual(names.map((name) => `transformer/${name}`));
    expect(found.get("proj_out.bias")!.file).toBe(`transformer/${names[1]}`);
    expect((await found.read("proj_out.bias")).bytes.length).toBe(8);
  });

  test("a variant is taken when asked for, or when there is nothing else", async () => {
    const both = { ...FILES, [`${TRANSFORMER}.fp16.safetensors`]: weights(BLOCK, "F16"), [`${TRANSFORMER}.safetensors`]: weights(BLOCK) };
    expect((await open(both)).component("transformer").weights!.variant).toBeNull();
    const only = { only: ["transformer"] };
    expect((await open(both, { ...only, variant: "fp16" })).component("transformer").weights!.files).toEqual([
      `${TRANSFORMER}.fp16.safetensors`,
    ]);
    const { [`${TRANSFORMER}.safetensors`]: _, ...rest } = both;
    expect((await open(rest)).component("transformer").weights!.variant).toBe("fp16");
    const custom = { ...FILES, [`${TRANSFORMER}.my-own.safetensors`]: weights(BLOCK) };
    expect((await open(custom, { ...only, variant: "my-own" })).component("transformer").weights!.variant).toBe("my-own");
  });

  test("a tensor that two shards hold is taken from the one the index names", async () => {
    const files = shards(["1.safetensors", "2.safetensors"], `${TRANSFORMER}.safetensors.index.json`);
    files["transformer/1.safetensors"] = weights({ "patch_embed.proj.weight": [4, 2], "proj_out.bias": [99], extra: [1] });
    const found = (await open(files)).component("transformer").weights!;
    expect(found.get("proj_out.bias")).toMatchObject({ shape: [2], file: "transformer/2.safetensors" });
    expect(found.has("extra")).toBe(true);
  });

  test.each<[string, (files: Files) => void, string]>([
    [
      "a shard that is missing",
      (files) => delete files["transformer/2.safetensors"],
      "transformer/diffusion_pytorch_model.safetensors.index.json: every file of the index must be there, got 1 of 2 missing: " +
        "transformer/2.safetensors; finish the download (in my-model)",
    ],
    [
      "tensors that are not in their shard",
      (files) => (files["transformer/2.safetensors"] = weights({ other: [1] })),
      "every weight of the index must be in its file, got 2 of 3 that are not; the index belongs to other files, download all " +
        "again (in my-model):\n  proj_out.weight in transformer/2.safetensors\n  proj_out.bias in transformer/2.safetensors",
    ],
    [
      "a shard that is cut",
      (files) => (files["transformer/2.safetensors"] = weights(BLOCK).slice(0, -1)),
      "transformer/2.safetensors: proj_out.weight: the tensor must end within",
    ],
    [
      "no weight_map",
      (files) => (files[`${TRANSFORMER}.safetensors.index.json`] = "{}"),
      "weight_map must be an object of weight → file, got nothing; download the file again",
    ],
    [
      "a weight_map of pickles",
      (files) => (files[`${TRANSFORMER}.safetensors.index.json`] = json({ weight_map: { a: "a.bin" } })),
      'weight_map must name .safetensors files, got "a.bin" for a; use an index made with safe_serialization=True',
    ],
    [
      "a weight_map that leaves the folder",
      (files) => (files[`${TRANSFORMER}.safetensors.index.json`] = json({ weight_map: { a: "../../x.safetensors" } })),
      '"../../x.safetensors": a path must be relative and stay inside the checkpoint\'s folder, got this one; ' +
        "correct the file that names it",
    ],
  ])("%s is refused", async (_, change, message) => {
    const files = shards(["1.safetensors", "2.safetensors"], `${TRANSFORMER}.safetensors.index.json`);
    change(files);
    await expect(open(files)).rejects.toThrow(message);
    await expect(open(files)).rejects.toThrow(/^\[checkpoint\] /);
  });

  test("pickles are refused with the way to convert them", async () => {
    for (const [base, name] of [
      ["transformer", "diffusion_pytorch_model.bin"],
      ["text_encoder", "pytorch_model.bin"],
      ["text_encoder", "pytorch_model.bin.index.json"],
    ] as const) {
      const files = { ...without(`${TRANSFORMER}.safetensors`, `${T5}.safetensors`), [`${base}/${name}`]: "pickle" };
      await expect(open(files, { only: [base] })).rejects.toThrow(
        `[checkpoint] ${base}: weights must be .safetensors, got ${name}, which is a Python pickle; convert it once in Python: ` +
          `load this component with from_pretrained("${base}") ` +
          `and call save_pretrained("${base}", safe_serialization=True) (in my-model)`,
      );
    }
  });

  test("no weights at all, and a variant that is not there", async () => {
    await expect(open(without(`${TRANSFORMER}.safetensors`))).rejects.toThrow(
      "[checkpoint] transformer: weights must be in diffusion_pytorch_model.safetensors " +
        "or behind diffusion_pytorch_model.safetensors.index.json, got neither; finish the download (in my-model)",
    );
    await expect(open(FILES, { variant: "fp16", only: ["vae"] })).rejects.toThrow(
      '[checkpoint] vae: the variant "fp16" must have its own files, ' +
        "got diffusion_pytorch_model.safetensors only; leave the variant out (in my-model)",
    );
    const half = { ...without(`${TRANSFORMER}.safetensors`), [`${TRANSFORMER}.fp16.safetensors`]: weights(BLOCK) };
    await expect(open(half, { variant: "bf16", only: ["transformer"] })).rejects.toThrow(
      'got diffusion_pytorch_model.fp16.safetensors only; ask for the variant "fp16"',
    );
    await expect(open(FILES, { variant: "../x" })).rejects.toThrow(
      '[checkpoint] a variant must be a word such as fp16, got "../x"; leave it out for the plain files',
    );
  });
});

describe("expected weights", () => {
  const expected = new Map(Object.entries(BLOCK));

  test("all there; what nobody asked for is listed", async () => {
    const files = { ...FILES, [`${TRANSFORMER}.safetensors`]: weights({ ...BLOCK, "old.bias": [1], "old.weight": [1] }) };
    const component = (await open(files)).component("transformer");
    expect(expectWeights(component, expected).ignored.sort()).toEqual(["old.bias", "old.weight"]);
  });

  test("all that is missing or misshapen is in one error", async () => {
    const files = { ...FILES, [`${TRANSFORMER}.safetensors`]: weights({ "patch_embed.proj.weight": [2, 4], "proj_out.bias": [2, 1] }) };
    const component = (await open(files)).component("transformer");
    expect(() => expectWeights(component, expected)).toThrow(
      "[checkpoint] transformer: every weight must be there in its shape, got 3 of 3 missing or of another shape; " +
        "check that transformer/config.json belongs to transformer/diffusion_pytorch_model.safetensors:\n" +
        "  patch_embed.proj.weight: expected [4, 2], got [2, 4]\n  proj_out.weight: " +
        "missing, expected [2, 4]\n  proj_out.bias: expected [2], got [2, 1]",
    );
  });

  test("T5's tied embedding is found under either name", async () => {
    const norm = { "encoder.final_layer_norm.weight": [8] };
    const names = ["shared.weight", "encoder.embed_tokens.weight"];
    for (const held of [names.slice(0, 1), names.slice(1), names]) {
      const shapes = Object.fromEntries(held.map((name) => [name, [16, 8]]));
      const component = (await open({ ...FILES, [`${T5}.safetensors`]: weights({ ...shapes, ...norm }) })).component("text_encoder");
      for (const asked of names) {
        expect(expectWeights(component, new Map(Object.entries({ [asked]: [16, 8], ...norm }))).ignored).toEqual([]);
        expect((await component.weights!.read(asked, { rowEnd: 1 })).shape).toEqual([1, 8]);
      }
      expect(() => expectWeights(component, new Map([[names[1]!, [17, 8]]]))).toThrow(
        "encoder.embed_tokens.weight: expected [17, 8], got [16, 8]",
      );
    }
  });

  test("a component without weights, a weight that is not there", async () => {
    const checkpoint = await open(FILES);
    expect(() => expectWeights(checkpoint.component("scheduler"), expected)).toThrow(
      "[checkpoint] scheduler: 3 weights are expected, got a component without weights; download its .safetensors files",
    );
    await expect(checkpoint.component("vae").weights!.read("nope")).rejects.toThrow(
      "[checkpoint] vae/diffusion_pytorch_model.safetensors: " +
        'a weight must be there to be read, got the name "nope" (in my-model); check the names with expectWeights first',
    );
  });
});

describe("a folder that is no checkpoint is refused", () => {
  test.each<[string, Files, string]>([
    [
      "nothing",
      {},
      "model_index.json: a checkpoint must be in diffusers' folder layout, got no such file; " +
        "pass the folder above that holds model_index.json, or convert with diffusers' scripts (in my-model)",
    ],
    [
      "one component",
      { "config.json": json({ _class_name: "AutoencoderKLCogVideoX" }) },
      "got a config.json of AutoencoderKLCogVideoX, so a single component; pass the folder above",
    ],
    [
      "one text encoder",
      { "config.json": json({ architectures: ["T5EncoderModel"] }) },
      "got a config.json of T5EncoderModel, so a single component;",
    ],
    ["a broken index", { "model_index.json": "{" }, 'model_index.json: must be JSON, got text that starts "{"; download the file again'],
    ["an index that is a list", { "model_index.json": "[]" }, "model_index.json: must hold a JSON object, got a list;"],
    [
      "an index without a class",
      { "model_index.json": "{}" },
      "model_index.json: _class_name must be a string, got nothing; download the file again",
    ],
    [
      "a component that is no pair",
      { "model_index.json": json({ _class_name: "P", vae: ["diffusers"] }) },
      'model_index.json: vae must be a pair of library and class, got ["diffusers"];',
    ],
    [
      "a component that leaves the folder",
      { "model_index.json": json({ _class_name: "P", "../vae": ["diffusers", "A"] }) },
      '"../vae": a path must be relative and stay inside the checkpoint\'s folder',
    ],
    [
      "a config that is missing",
      without("vae/config.json"),
      "vae/config.json: model_index.json names the component vae (AutoencoderKLCogVideoX), so its config must exist, " +
        "got no such file; finish the download (in my-model)",
    ],
    [
      "a config that is broken",
      { ...FILES, "vae/config.json": "{html}" },
      'vae/config.json: must be JSON, got text that starts "{html}"; download the file again (in my-model)',
    ],
  ])("%s", async (_, files, message) => {
    await expect(open(files)).rejects.toThrow(message);
    await expect(open(files)).rejects.toThrow(/^\[checkpoint\] /);
  });

  test("a component that is not there", async () => {
    await expect(open(FILES, { only: ["vae", "unet"] })).rejects.toThrow(
      "[checkpoint] model_index.json: the checkpoint must have unet, " +
        "got scheduler, text_encoder, tokenizer, transformer, vae; use a CogVideoX checkpoint (in my-model)",
    );
    expect((await open(FILES)).component.bind(await open(FILES), "unet")).toThrow(
      '[checkpoint] model_index.json: the checkpoint must have a component "unet", ' +
        "got scheduler, text_encoder, tokenizer, transformer, vae; use a CogVideoX checkpoint",
    );
  });
});
