/** Files in the place of a checkpoint's components: safetensors and GGUF, with their configs, through CogVideoX.open and generate. */
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openComponentFile, type ComponentFile } from "../../src/checkpoint/component-file.ts";
import { expectWeights } from "../../src/checkpoint/weight-index.ts";
import { writeGguf } from "../../src/files/gguf-write.ts";
import type { GgufValue } from "../../src/files/gguf.ts";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import type { StoredWeight } from "../../src/graph/stored.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { transformerMetadata } from "../../src/models/cogvideox/gguf.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { ggufMetadata, ggufName, T5_GGUF } from "../../src/models/t5/gguf.ts";
import { T5Encoder } from "../../src/models/t5/model.ts";
import { expectedT5Weights } from "../../src/models/t5/weights.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import type { OpenOptions } from "../../src/pipelines/options.ts";
import { VideoVae } from "../../src/pipelines/video-vae.ts";
import { storedValues, type WeightProvider } from "../../src/run/weight-provider.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { toHalf } from "../support/compare.ts";
import { valuesOf } from "../support/dequantize.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, TINY_CONFIGS, tinyCheckpoint, tinyWeights, type WeightsComponent } from "../support/tiny-checkpoint.ts";

let gpu: Gpu;
let bytesBefore: number;
/** A whole checkpoint, what it makes, and one whose weights are others. */
let whole: string;
let reference: string;
let other: string;
let files: string;
beforeAll(async () => {
  gpu = await testGpu();
  bytesBefore = gpu.memory.allocated;
  [whole, other] = [await tinyCheckpoint(), await tinyCheckpoint({ seed: 2 })];
  files = await mkdtemp(join(tmpdir(), "cogwheel-files-"));
  reference = await made(whole);
});
afterAll(async () => {
  await removeTinyCheckpoints();
  await rm(files, { recursive: true, force: true });
  expect(gpu.memory.allocated, "bytes left behind by this file").toBe(bytesBefore);
});

async function made(from: string, options: OpenOptions = {}): Promise<string> {
  await using model = await CogVideoX.open(from, { gpu, dtype: "f32", ...options });
  const { state, frames } = await model.generate({ prompt: "a red circle", seed: 3, frames: 1 });
  return `${Buffer.from(state.latents.buffer).toString("base64")} ${Buffer.from(frames[0]!.data).toString("base64")}`;
}

const safetensorsOf = (component: WeightsComponent): string =>
  join(whole, component, component === "text_encoder" ? "model.safetensors" : "diffusion_pytorch_model.safetensors");

/** A component's weights in GGUF: matrices in f16. */
function gguf(component: WeightsComponent, metadata: ReadonlyMap<string, GgufValue>, name = (published: string) => published): Uint8Array {
  const tensors = [...tinyWeights(component, 1)].map(([published, { shape, data }]) => {
    const half = shape.length > 1;
    return { name: name(published), type: half ? "F16" : "F32", shape, data: half ? toHalf(data) : data };
  });
  return writeGguf(metadata, tensors);
}
const transformer = () => gguf("transformer", transformerMetadata(TINY_CONFIGS.transformer));
const textEncoder = () =>
  gguf("text_encoder", ggufMetadata(parseT5Config({ ...TINY_CONFIGS.text_encoder, relative_attention_max_distance: 128 })), (name) => {
    const short = ggufName(name);
    if (short === undefined) throw new Error(`no GGUF name for ${name}`);
    return short;
  });

async function written(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(files, name);
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, bytes);
  return path;
}

describe("the same weights in another file: the same bytes come out", () => {
  it("safetensors for every component", async () => {
    const options = { transformer: safetensorsOf("transformer"), textEncoder: safetensorsOf("text_encoder"), vae: safetensorsOf("vae") };
    expect(await made(other)).not.toBe(reference);
    expect(await made(other, options)).toBe(reference);
  });

  it("GGUF for the transformer, by path, by URL, and as bytes that an app has", async () => {
    const path = await written("transformer.gguf", transformer());
    const base = await tinyCheckpoint({ seed: 1, configs: { transformer: { num_layers: 3 } } }); // a config that lies
    for (const file of [path, new URL(`file://${path}`), new File([transformer() as BlobPart], "x.gguf")])
      expect(await made(base, { transformer: file })).toBe(reference);
    expect(await made(base, { transformer: { source: memorySource({ x: transformer() }), path: "x" } })).toBe(reference);
  });

  it("GGUF for the text encoder under llama.cpp's names", async () => {
    const base = await tinyCheckpoint({ seed: 1, configs: { text_encoder: { relative_attention_max_distance: 128 } } });
    await rm(join(base, "text_encoder", "model.safetensors"));
    const want = await made(await tinyCheckpoint({ seed: 1, configs: { text_encoder: { relative_attention_max_distance: 128 } } }));
    const path = await written("t5.gguf", textEncoder());
    expect(await made(base, { textEncoder: path })).toBe(want);
    // Its metadata has all of the config.
    await rm(join(base, "text_encoder"), { recursive: true });
    expect(await made(base, { textEncoder: path })).toBe(want);
  });

  it("a VAE by itself", async () => {
    const latents = { data: new Float32Array(8).fill(0.3), frames: 1, channels: 4, height: 1, width: 2 };
    const decoded = async (vae?: string) => {
      await using opened = await VideoVae.open(vae === undefined ? whole : other, { gpu, dtype: "f32", ...(vae ? { vae } : {}) });
      return (await opened.decode(latents))[0]!.data;
    };
    expect(await decoded(safetensorsOf("vae"))).toEqual(await decoded());
  });
});

describe("where a file's config comes from", () => {
  const layers = async (options: OpenOptions, from = whole): Promise<number> => {
    await using model = await CogVideoX.open(from, { gpu, ...options });
    return model.configs.transformer.num_layers;
  };
  const told = { ...TINY_CONFIGS.transformer, num_layers: 7 };

  it("what is given, before its metadata, before what lies beside it, before the checkpoint", async () => {
    const bare = await written("bare/x.safetensors", await readFile(safetensorsOf("transformer")));
    expect(await layers({ transformer: bare })).toBe(1);
    await writeFile(join(files, "bare/config.json"), JSON.stringify({ ...told, _class_name: "UNet2DModel" }));
    expect(await layers({ transformer: bare })).toBe(1);
    await writeFile(join(files, "bare/config.json"), JSON.stringify(told));
    expect(await layers({ transformer: bare })).toBe(7);
    const metadata = { config: JSON.stringify({ ...told, num_layers: 5 }) };
    const withConfig = await written(
      "bare/y.safetensors",
      writeSafetensors({ x: { dtype: "F32", shape: [1], data: new Float32Array(1) } }, metadata),
    );
    expect(await layers({ transformer: withConfig })).toBe(5);
    expect(await layers({ transformer: { file: withConfig, config: { ...told, num_layers: 2 } } })).toBe(2);
  });

  it("a published model's, by its name", async () => {
    const file = await written("named/x.safetensors", await readFile(safetensorsOf("transformer")));
    const open = { gpu, transformer: { file, config: "cogvideox-5b-i2v" } } as const;
    // The tiny folder's text encoder and VAE are not of that model, which is noticed.
    await expect(CogVideoX.open(whole, open)).rejects.toThrow(/d_model must be the transformer's text_embed_dim, got 16 and 4096/);
    await expect(CogVideoX.open(whole, { ...open, transformer: { file, config: "cogvideox-9b" as never } })).rejects.toThrow(
      /^\[generate\] the config of transformer must be one of cogvideox-2b, .*, got "cogvideox-9b"/,
    );
  });

  it("the checkpoint's, which is another model's: the error names both files", async () => {
    const base = await tinyCheckpoint({ configs: { transformer: { in_channels: 8 } } });
    const file = await written("named/x.safetensors", await readFile(safetensorsOf("transformer")));
    await using model = await CogVideoX.open(base, { gpu, transformer: file });
    await expect(model.prepare({ prompt: "x", image: { width: 32, height: 16, data: new Uint8Array(2048) } })).rejects.toThrow(
      /check that transformer\/config\.json belongs to x\.safetensors:\n {2}patch_embed\.proj\.weight: expected \[32, 8/,
    );
  });

  it("nowhere: the error names the file", async () => {
    const base = await tinyCheckpoint();
    await rm(join(base, "transformer"), { recursive: true });
    const path = await written("lone/x.safetensors", await readFile(safetensorsOf("transformer")));
    await expect(layers({ transformer: path }, base)).rejects.toThrow(
      /transformer\/config\.json: .* got no such file, and none with x\.safetensors; put its config\.json beside that file/,
    );
  });
});

describe("a T5 of llama.cpp's", () => {
  it("written by PyPI's gguf: its config, and every weight in its shape", async () => {
    const bytes = new Uint8Array(await readFile(join(import.meta.dirname, "../files/fixtures/t5.gguf")));
    const opened = await openComponentFile({ source: memorySource({ "t5.gguf": bytes }), path: "t5.gguf" }, "T5EncoderModel", {
      gguf: async () => T5_GGUF,
    });
    const config = parseT5Config(opened.config, opened.configFile);
    expect(config).toEqual({
      vocab_size: 24,
      d_model: 256,
      d_kv: 16,
      d_ff: 64,
      num_layers: 2,
      num_heads: 2,
      relative_attention_num_buckets: 8,
      relative_attention_max_distance: 128,
      layer_norm_epsilon: 1e-6,
    });
    expect(expectWeights({ name: "text_encoder", weights: opened.weights }, expectedT5Weights(config))).toEqual({ ignored: [] });
    expect(opened.weights.stored("encoder.block.1.layer.1.DenseReluDense.wi_0.weight")).toMatchObject({ shape: [64, 256], format: "q8_0" });
    for (const name of opened.weights.names()) expect(ggufName(name), name).toBe(opened.weights.get(name)!.tensor);

    // Its hidden states are those of the numbers that its blocks are.
    const encoded = async (provider: WeightProvider): Promise<Float32Array> => {
      using encoder = await T5Encoder.create(gpu, config, provider, { batch: 1, length: 9 });
      return await encoder.encode(Int32Array.from({ length: 9 }, (_, i) => (5 * i) % 24));
    };
    const numbers = new Map<string, StoredWeight>();
    for (const name of opened.weights.names()) {
      const stored = opened.weights.stored(name);
      numbers.set(name, storedValues(name, await valuesOf(stored), stored.shape));
    }
    const type = () => "f32" as const;
    const [blocks, plain] = [
      await encoded({ type, stored: (name) => opened.weights.stored(name) }),
      await encoded({ type, stored: (name) => numbers.get(name)! }),
    ];
    expect(blocks).toEqual(plain);
    expect(blocks.every((v) => Number.isFinite(v)) && blocks.some((v) => v !== blocks[0])).toBe(true);
  });
});

describe("what cannot be put in a component's place is refused, and closed", () => {
  it.for<[string, () => Uint8Array, keyof OpenOptions & ("transformer" | "textEncoder" | "vae"), RegExp]>([
    [
      "a language model",
      () => writeGguf(new Map([["general.architecture", "llama"]]), []),
      "textEncoder",
      /must be t5encoder or t5, got "llama"/,
    ],
    ["an encoder as the transformer", textEncoder, "transformer", /x: general\.architecture must be cogvideox, got "t5encoder"/],
    ["a GGUF without an architecture", () => writeGguf(new Map(), []), "transformer", /must be cogvideox, got none/],
    ["a GGUF as the VAE", transformer, "vae", /must be one of this component's, which has none, got "cogvideox"/],
    [
      "a pickle",
      () => Uint8Array.from([0x80, 2, ...new Array<number>(60).fill(0)]),
      "transformer",
      /must be a safetensors file, got a Python pickle/,
    ],
    [
      "a config that is none",
      () =>
        gguf(
          "transformer",
          new Map([
            ["general.architecture", "cogvideox"],
            ["cogvideox.config", "{"],
          ]),
        ),
      "transformer",
      /x: cogvideox\.config must be JSON, got text that starts "\{"; write the file again/,
    ],
    [
      "a config of another model",
      () => gguf("transformer", transformerMetadata({ ...TINY_CONFIGS.transformer, activation_fn: "relu" })),
      "transformer",
      /x, its metadata: activation_fn must be "gelu-approximate", got "relu"/,
    ],
  ])("%s", async ([, bytes, option, message]) => {
    let disposed = 0;
    const source = memorySource({ x: bytes() });
    const watched: ComponentFile = {
      path: "x",
      source: { ...source, [Symbol.asyncDispose]: async () => void disposed++ },
    };
    await expect(CogVideoX.open(whole, { gpu, [option]: watched })).rejects.toThrow(message);
    expect(disposed).toBe(1);
  });

  it("a folder, and a file that is not there", async () => {
    await expect(CogVideoX.open(whole, { gpu, transformer: files })).rejects.toThrow(
      /^\[generate\] transformer must name a \.safetensors or \.gguf file, or a folder with diffusion_pytorch_model\.safetensors in it, got /,
    );
    await expect(CogVideoX.open(whole, { gpu, vae: join(files, "no.safetensors") })).rejects.toThrow(
      /no\.safetensors: must exist, got no such file/,
    );
    const copy = join(files, "copy.gguf");
    await copyFile(safetensorsOf("vae"), copy);
    await expect(CogVideoX.open(whole, { gpu, vae: copy })).resolves.toSatisfy(
      (model) => (model as CogVideoX)[Symbol.asyncDispose]() !== undefined,
    );
  });
});
