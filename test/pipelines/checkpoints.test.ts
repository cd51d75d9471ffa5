/** Checkpoints as they are stored, and as they are broken, through CogVideoX.open and generate. */
import { readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { folderSource } from "../../src/sources/folder.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { ComponentWeights } from "../../src/checkpoint/component-weights.ts";
import type { StageMemory } from "../../src/pipelines/requirements.ts";
import { availableMemoryBytes } from "../../src/platform/memory-node.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { expectedT5Weights } from "../../src/models/t5/weights.ts";
import { packedBytes } from "../../src/graph/packing.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import type { Stage } from "../../src/pipelines/cogvideox/stage-names.ts";
import type { OpenOptions } from "../../src/pipelines/options.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, TINY_CONFIGS, tinyCheckpoint, type TinyOptions } from "../support/tiny-checkpoint.ts";

let gpu: Gpu;
let bytesBefore: number;
let reference: string;
beforeAll(async () => {
  gpu = await testGpu();
  bytesBefore = gpu.memory.allocated;
  reference = await made(await tinyCheckpoint());
});
afterAll(async () => {
  await removeTinyCheckpoints();
  expect(gpu.memory.allocated, "bytes left behind by this file").toBe(bytesBefore);
});

async function made(from: string | CheckpointSource, options: OpenOptions = {}): Promise<string> {
  await using model = await CogVideoX.open(from, { gpu, dtype: "f32", ...options });
  const { state, frames } = await model.generate({ prompt: "a red circle", seed: 3, frames: 1 });
  return `${Buffer.from(state.latents.buffer).toString("base64")} ${Buffer.from(frames[0]!.data).toString("base64")}`;
}

describe("ways to store the same weights", () => {
  it.for<[string, TinyOptions, OpenOptions]>([
    ["f16", { dtype: "F16" }, {}],
    ["bf16", { dtype: "BF16" }, {}],
    ["three shards", { shards: 3 }, {}],
    ["the variant fp16, found by itself", { dtype: "F16", variant: "fp16" }, {}],
    ["the variant fp16, asked for", { dtype: "F16", variant: "fp16" }, { variant: "fp16" }],
    ["a variant's shards", { dtype: "BF16", variant: "bf16", shards: 2 }, { variant: "bf16" }],
    ["T5's embedding under its other name", { embedding: "encoder.embed_tokens.weight" }, {}],
    ["T5's embedding under both names", { embedding: "both" }, {}],
  ])("%s: the same bytes come out", async ([, tiny, open]) => {
    expect(await made(await tinyCheckpoint(tiny), open)).toBe(reference);
  });

  it("other weights: other bytes", async () => {
    expect(await made(await tinyCheckpoint({ seed: 2 }))).not.toBe(reference);
  });

  it("the variant that was asked for is taken, of several", async () => {
    const folder = await tinyCheckpoint();
    const other = await tinyCheckpoint({ variant: "fp16", dtype: "F16", seed: 2 });
    for (const [component, base] of [
      ["text_encoder", "model"],
      ["transformer", "diffusion_pytorch_model"],
      ["vae", "diffusion_pytorch_model"],
    ] as const) {
      await rename(join(other, component, `${base}.fp16.safetensors`), join(folder, component, `${base}.fp16.safetensors`));
    }
    expect(await made(folder)).toBe(reference);
    expect(await made(folder, { variant: "fp16" })).not.toBe(reference);
    await expect(CogVideoX.open(folder, { gpu, dtypo: "f16" } as object)).rejects.toThrow(
      /^\[generate\] options must be among gpu, adapter, .*, got "dtypo"; did you mean dtype\?$/,
    );
    await expect(CogVideoX.open(folder, { gpu, variant: "bf16" })).rejects.toThrow(
      /^\[checkpoint\] \w+: the variant "bf16" must have its own files, got /,
    );
  });
});

describe("weights that do not fit f16", () => {
  const folder = () =>
    tinyCheckpoint({
      dtype: "BF16",
      edit: (component, weights) => {
        if (component !== "transformer") return;
        weights.get("proj_out.weight")!.data[5] = 2 ** 17;
        weights.get("transformer_blocks.0.attn1.to_q.weight")!.data.fill(2 ** -40);
        weights.get("proj_out.bias")!.data[0] = 2 ** 17; // vectors are f32 anyway
      },
    });

  it("are counted, named and kept in f32; the others are not", async () => {
    await using checkpoint = await openCheckpoint(await folderSource(await folder()));
    let reads = 0;
    const component = checkpoint.component("transformer");
    const weights = ComponentWeights.open(component, "f16", () => reads++);
    const names = [...component.weights!.names()];
    const requests = () =>
      names.map((name) => {
        const { shape } = component.weights!.get(name)!;
        const dtype = weights.type(name);
        return {
          key: `${name} ${dtype}`,
          names: [name],
          shape,
          packing: "natural" as const,
          dtype,
          bytes: packedBytes(shape, "natural", dtype),
        };
      });
    using store = new WeightStore(gpu, weights);
    const first = requests();
    await expect(store.load(first)).rejects.toThrow(
      "[weights] weights must fit f16 to be stored in it, got proj_out.weight, transformer_blocks.0.attn1.to_q.weight, which do not;",
    );
    expect(weights.kept).toEqual([
      { name: "proj_out.weight", overflow: 1, underflow: 0 },
      { name: "transformer_blocks.0.attn1.to_q.weight", overflow: 0, underflow: 32 * 32 },
    ]);
    expect(first.filter(({ key }) => !store.has(key)).map(({ names: [name] }) => name)).toEqual(weights.kept.map(({ name }) => name));
    await store.load(requests());
    expect(reads).toBe(1);
    expect(new Float32Array(await gpu.read(store.get("proj_out.weight f32")))[5]).toBe(2 ** 17);
    expect(weights.type("proj_out.weight")).toBe("f32");
    expect(weights.type("transformer_blocks.0.attn1.to_k.weight")).toBe("f16");
  });

  it("are told to the user of an f16 run", async ({ skip }) => {
    skip(!gpu.caps.f16, "needs an adapter with shader-f16");
    await using model = await CogVideoX.open(await folder(), { gpu, dtype: "f16" });
    const warnings: string[] = [];
    let latents: Float32Array | undefined;
    // Latents of 1e5 are the transformer's right answer to such weights, and nothing that the VAE decodes in f16.
    await expect(
      model.generate({
        prompt: "a red circle",
        seed: 3,
        frames: 1,
        onWarning: (message) => warnings.push(message),
        onStep: (state) => void (latents = state.latents),
      }),
    ).rejects.toThrow(/every value must be finite, got \d+ NaN or infinite values in node .* of vae\.decode/);
    expect(warnings).toEqual([
      "[checkpoint] 2 of transformer's weights do not fit f16 and stay f32: " +
        "transformer_blocks.0.attn1.to_q.weight (0 too large, 1024 too small), proj_out.weight (1 too large, 0 too small)",
    ]);
    expect(latents!.every(Number.isFinite)).toBe(true);
  });
});

describe("a checkpoint is refused", () => {
  const refused = async (options: TinyOptions, rule: RegExp, change: (folder: string) => Promise<unknown> = async () => undefined) => {
    const folder = await tinyCheckpoint(options);
    await change(folder);
    await expect(CogVideoX.open(folder, { gpu, dtype: "f32" })).rejects.toThrow(rule);
  };
  const file = "transformer/diffusion_pytorch_model.safetensors";

  it("when its config is outside what is supported", async () => {
    await refused(
      { configs: { transformer: { patch_size_t: 99 } } },
      /^\[checkpoint\] transformer\/config\.json: patch_size_t must be null or at most 8, got 99; /,
    );
    await refused({ configs: { transformer: { num_layers: "2" } } }, /num_layers must be a whole number from 1 to 1024, got "2"/);
    await refused(
      { configs: { transformer: { attention_head_dim: 20 } } },
      /attention_head_dim must be a multiple of 16 with rotary embeddings, got 20/,
    );
    await refused({ configs: { transformer: { activation_fn: "swiglu" } } }, /activation_fn must be "gelu-approximate", got "swiglu"/);
    await refused(
      { configs: { transformer: { in_channels: 12 } } },
      /in_channels must be 4 \(text\), 8 \(an image or a control video\) or 9 \(inpainting\) with 4 latent channels, got 12; /,
    );
    await refused({ configs: { transformer: { out_channels: 8 } } }, /out_channels must be the VAE's latent_channels, got 8 and 4; /);
    await refused(
      { configs: { transformer: { text_embed_dim: 4096 } } },
      /the text encoder's d_model must be the transformer's text_embed_dim, got 16 and 4096; /,
    );
    await refused({ configs: { vae: { act_fn: "relu" } } }, /^\[checkpoint\] vae\/config\.json: act_fn must be "silu", got "relu"/);
    await refused(
      { configs: { vae: { block_out_channels: [8, 7] } } },
      /vae\/config\.json: block_out_channels must be multiples of norm_num_groups/,
    );
    await refused(
      { configs: { text_encoder: { feed_forward_proj: "relu", num_heads: 0 } } },
      /^\[t5\] text_encoder\/config\.json: feed_forward_proj must be "gated-gelu" \(T5 version 1\.1\), got "relu"; num_heads must be a whole number from 1 to 1024, got 0; /,
    );
    await refused(
      { configs: { scheduler: { beta_schedule: "sigmoid" } } },
      /^\[scheduler\] scheduler\/scheduler_config\.json: beta_schedule must be one of .*, got "sigmoid"/,
    );
    await refused(
      { configs: { scheduler: { _class_name: "PNDMScheduler" } } },
      /^\[scheduler\] the scheduler must be CogVideoXDDIMScheduler or CogVideoXDPMScheduler, got "PNDMScheduler"/,
    );
    await refused({ advice: { height: 100, width: 100 } }, /^\[generate\] height and width must be multiples of 16, got height 100/);
  });

  it("when a file is missing, torn or not what its name says", async () => {
    await refused({}, /^\[checkpoint\] transformer\/diffusion_pytorch_model\.safetensors: .*truncated/, (f) =>
      truncate(join(f, file), 20_000),
    );
    await refused({}, /the header must fit in the file, got a header length of \d+ in 100 bytes; the file is truncated/, (f) =>
      truncate(join(f, file), 100),
    );
    await refused({}, /diffusion_pytorch_model\.safetensors: must be a safetensors file, got an empty file; download it again/, (f) =>
      truncate(join(f, file), 0),
    );
    await refused(
      {},
      /^\[checkpoint\] transformer: weights must be in diffusion_pytorch_model\.safetensors or behind .*, got neither; finish the download/,
      (f) => rm(join(f, file)),
    );
    await refused({}, /^\[checkpoint\] vae\/config\.json: model_index\.json names the component vae .* got no such file/, (f) =>
      rm(join(f, "vae/config.json")),
    );
    await refused({}, /^\[checkpoint\] vae\/config\.json: must be JSON, got text that starts "\{\\"a/, (f) =>
      writeFile(join(f, "vae/config.json"), '{"a'),
    );
    await refused({}, /^\[checkpoint\] model_index\.json: a checkpoint must be in diffusers' folder layout, got no such file/, (f) =>
      rm(join(f, "model_index.json")),
    );
    await refused(
      { shards: 2 },
      /every file of the index must be there, got 1 of 2 missing: transformer\/.*-00002-of-00002\.safetensors/,
      (f) => rm(join(f, "transformer/diffusion_pytorch_model-00002-of-00002.safetensors")),
    );
    await refused({}, /weights must be \.safetensors, got pytorch_model\.bin, which is a Python pickle/, async (f) => {
      await rm(join(f, "text_encoder/model.safetensors"));
      await writeFile(join(f, "text_encoder/pytorch_model.bin"), "");
    });
    await expect(CogVideoX.open("/no/such/folder", { gpu })).rejects.toThrow(
      "[checkpoint] /no/such/folder: a checkpoint must be a folder, got nothing there",
    );
  });

  it("when a header lies", async () => {
    const lie =
      (change: (header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>) => void) =>
      async (folder: string) => {
        const bytes = await readFile(join(folder, file));
        const length = Number(bytes.readBigUInt64LE(0));
        const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
        change(header);
        const text = Buffer.from(JSON.stringify(header));
        const size = Buffer.alloc(8);
        size.writeBigUInt64LE(BigInt(text.length));
        await writeFile(join(folder, file), Buffer.concat([size, text, bytes.subarray(8 + length)]));
      };
    const weight = "proj_out.weight";
    await refused(
      {},
      /proj_out\.weight: dtype must be one of .*, got "F8_E5M2"/,
      lie((h) => {
        h[weight]!.dtype = "F8_E5M2";
      }),
    );
    await refused(
      {},
      /tensors must lie end to end, got .*\(they overlap\)/,
      lie((h) => {
        h[weight]!.data_offsets = h["norm_out.norm.weight"]!.data_offsets;
        h[weight]!.shape = h["norm_out.norm.weight"]!.shape;
      }),
    );
    await refused(
      {},
      /proj_out\.weight: the tensor must end within the file's \d+ bytes of data/,
      lie((h) => {
        h[weight]!.data_offsets = [h[weight]!.data_offsets[0], 2 ** 40];
      }),
    );
    await refused(
      {},
      /proj_out\.weight: F32 \[99, 32\] takes 12672 bytes, got data_offsets/,
      lie((h) => {
        h[weight]!.shape = [99, 32];
      }),
    );
  });

  it("before anything is loaded, with all that is missing or misshapen in one error", async () => {
    const folder = await tinyCheckpoint({
      edit: (component, weights) => {
        if (component === "transformer") {
          weights.delete("proj_out.bias");
          weights.delete("transformer_blocks.0.ff.net.2.weight");
          weights.set("norm_final.weight", { shape: [31], data: new Float32Array(31) });
        }
        if (component === "vae") weights.set("decoder.conv_in.conv.bias", { shape: [1], data: new Float32Array(1) });
      },
    });
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    const stages: Stage[] = [];
    const error = (await model
      .generate({ prompt: "a red circle", onProgress: (stage) => stages.push(stage) })
      .catch((e: unknown) => e)) as Error;
    expect(stages).toEqual([]);
    expect(error.message).toMatch(
      /^\[checkpoint\] transformer: every weight must be there in its shape, got 3 of \d+ missing or of another shape; check that transformer\/config\.json belongs to transformer\/diffusion_pytorch_model\.safetensors:/,
    );
    for (const line of [
      "proj_out.bias: missing, expected [16]",
      "transformer_blocks.0.ff.net.2.weight: missing, expected [32, 128]",
      "norm_final.weight: expected [32], got [31]",
      "decoder.conv_in.conv.bias: expected [8], got [1]",
    ]) {
      expect(error.message).toContain(line);
    }
    expect(error.message).toContain("\nvae: every weight must be there in its shape, got 1 of ");
    expect(error.message.match(/\[checkpoint\]/g)!.length).toBe(1);
  });

  it("when its tokenizer is missing or another one's", async () => {
    const without = await tinyCheckpoint();
    await rm(join(without, "tokenizer/spiece.model"));
    await expect(made(without)).rejects.toThrow(/^\[checkpoint\] tokenizer\/spiece\.model: must exist, got no such file/);
    const torn = await tinyCheckpoint();
    await truncate(join(torn, "tokenizer/spiece.model"), 1000);
    await expect(made(torn)).rejects.toThrow(/^\[checkpoint\] .*spiece\.model/);
    const small = await tinyCheckpoint({
      configs: { text_encoder: { vocab_size: 10 } },
      edit: (component, weights) => {
        if (component === "text_encoder") weights.set("shared.weight", { shape: [10, 16], data: new Float32Array(160) });
      },
    });
    await expect(made(small)).rejects.toThrow(
      /^\[t5\] ids must lie within 0 to 9, got \d+ at \d+; use the tokenizer that belongs to this checkpoint/,
    );
  });

  it("when parts that are kept take more memory than there is, before a weight is read; one at a time its layers come and go", async ({
    skip,
  }) => {
    skip(gpu.caps.kind !== "software", "needs an adapter whose memory is the machine's");
    // Layers of 201 MB, half as many again as there is memory for; only their header is there.
    const t5 = { ...TINY_CONFIGS.text_encoder, d_ff: 1 << 20, num_layers: Math.ceil((1.5 * availableMemoryBytes()) / 201e6) };
    const entries: Record<string, unknown> = {};
    let at = 0;
    for (const [name, shape] of expectedT5Weights(parseT5Config(t5))) {
      const size = 4 * shape.reduce((a, b) => a * b, 1);
      entries[name] = { dtype: "F32", shape, data_offsets: [at, (at += size)] };
    }
    const header = Buffer.from(JSON.stringify(entries));
    const start = Buffer.alloc(8 + header.length);
    start.writeBigUInt64LE(BigInt(header.length));
    header.copy(start, 8);
    const folder = await folderSource(await tinyCheckpoint({ configs: { text_encoder: t5 } }));
    const path = "text_encoder/model.safetensors";
    const source: CheckpointSource = {
      ...folder,
      size: async (p) => (p === path ? start.length + at : folder.size(p)),
      async read(p, from, to) {
        if (p !== path) {
          expect(p, "no weights are read").toMatch(/json$|safetensors$/);
          return folder.read(p, from, to);
        }
        expect(to, "only the header is read").toBeLessThanOrEqual(start.length);
        return new Uint8Array(start.subarray(from, to));
      },
    };
    await using kept = await CogVideoX.open(source, { gpu, dtype: "f32", keep: true });
    await expect(kept.prepare({ prompt: "a" })).rejects.toThrow(
      /^\[generate\] the text encoder, transformer, decoder needs [\d.]+ GB \(weights [\d.]+ GB, activations \d+ [MG]B, loading 19 MB\), got [\d.]+ [MG]B of free memory; choose a smaller size(,| or) fewer frames/,
    );
    await using model = await CogVideoX.open(source, { gpu, dtype: "f32" });
    const [text] = (await model.prepare({ prompt: "a" })).requirements as [StageMemory];
    expect(text.peak).toBeLessThan(availableMemoryBytes());
    expect(text.residence!.layers).toBe(t5.num_layers);
    expect(text.residence!.resident).toBeLessThan(0.7 * t5.num_layers);
    expect(text.residence!.resident).toBeGreaterThan(0.4 * t5.num_layers);
  });

  it("with an adapter's limits named, when one tensor is too large for it", async () => {
    await using model = await CogVideoX.open(await tinyCheckpoint(), { gpu, dtype: "f32" });
    const stages: Stage[] = [];
    const begun = performance.now();
    await expect(
      model.generate({ prompt: "a red circle", width: 8192, height: 8192, frames: 17, onProgress: (stage) => stages.push(stage) }),
    ).rejects.toThrow(/^\[[\w-]+\] .*(tokens on|of free memory|bytes on|a binding of \d+ bytes).*; .*choose a smaller size/);
    expect(stages).toEqual([]);
    expect(performance.now() - begun).toBeLessThan(20_000);
  });
});

it("closes what it opened when it is refused", async () => {
  const inner = await folderSource(await tinyCheckpoint());
  let disposed = 0;
  const source: CheckpointSource = {
    ...inner,
    [Symbol.asyncDispose]: async () => {
      disposed++;
      await inner[Symbol.asyncDispose]();
    },
  };
  await expect(CogVideoX.open(source, { gpu, dtype: "f64" as "f32" })).rejects.toThrow(
    /^\[generate\] dtype must be f32, f16, q8 or q4, got "f64"/,
  );
  expect(disposed).toBe(1);
});
