/** `cogwheel quantize`: what is in the file, what it says is lost, and that the file takes the component's place. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { joined } from "../../src/base/joined.ts";
import { openGguf } from "../../src/files/gguf.ts";
import { quantize } from "../../src/files/quantize.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { Format } from "../../src/graph/stored.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { quantizeCheckpoint, type QuantizeOptions, type QuantizeReport } from "../../src/pipelines/quantize/quantize.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { relativeL2 } from "../support/compare.ts";
import { dequantized } from "../support/dequantize.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint, tinyWeights, type TinyTensor } from "../support/tiny-checkpoint.ts";

let gpu: Gpu;
let bytesBefore: number;
let folder: string;
let files: string;
beforeAll(async () => {
  gpu = await testGpu();
  bytesBefore = gpu.memory.allocated;
  folder = await tinyCheckpoint();
  files = await mkdtemp(join(tmpdir(), "cogwheel-quantized-"));
});
afterAll(async () => {
  await removeTinyCheckpoints();
  await rm(files, { recursive: true, force: true });
  expect(gpu.memory.allocated, "bytes left behind by this file").toBe(bytesBefore);
});

async function quantized(options: Omit<QuantizeOptions, "gpu">, from = folder): Promise<{ file: Uint8Array; report: QuantizeReport }> {
  const parts: Uint8Array[] = [];
  const report = await quantizeCheckpoint(from, { gpu, ...options }, async (pieces) => {
    for await (const piece of pieces) parts.push(piece.slice());
  });
  return { file: joined(parts), report };
}

/** Name, type and values of every tensor of a file. */
async function read(file: Uint8Array): Promise<Map<string, { type: string; bytes: Uint8Array; values: Float32Array }>> {
  const { tensors } = await openGguf(memorySource({ x: file }), "x");
  return new Map(
    [...tensors].map(([name, { type, shape, start, end }]) => {
      const bytes = file.subarray(start, end);
      return [name, { type, bytes, values: dequantized(bytes, { format: type.toLowerCase() as Format, shape }) }];
    }),
  );
}

const KEPT = /patch_embed|time_embedding|norm[12]\.linear|norm_out|proj_out/;

describe("the transformer", () => {
  it.each(["q8_0", "q5_0", "q4_0"] as const)("%s: attention and feed-forward layers are in blocks, the rest stays", async (type) => {
    const { file, report } = await quantized({ type });
    const tensors = await read(file);
    const weights = tinyWeights("transformer", 1);
    expect([...tensors.keys()].sort()).toEqual([...weights.keys()].sort());
    const told = new Map(report.layers.flatMap((layer) => layer.weights).map((weight) => [weight.name, weight]));
    for (const [name, { shape, data }] of weights) {
      const { type: got, bytes, values } = tensors.get(name)!;
      if (shape.length === 2 && !KEPT.test(name)) {
        expect(got, name).toBe(type.toUpperCase());
        expect(Buffer.compare(bytes, quantize(data, type)), name).toBe(0);
        expect(told.get(name)!.error, name).toBeCloseTo(relativeL2(values, data), 6);
      } else {
        expect(got, name).toBe(shape.length > 1 ? "F16" : "F32");
        expect(values, name).toEqual(data);
        expect(told.get(name)).toMatchObject({ error: null, bytes: bytes.length });
      }
    }
    expect(report.bytes).toBe(file.length);
  });

  it("the fewer bits, the larger the errors of weights and of what layers make of an input", async () => {
    const errors: number[][] = [];
    for (const type of ["q8_0", "q5_0", "q4_0"] as const) {
      const [outside, block] = (await quantized({ type })).report.layers;
      expect(outside).toMatchObject({ name: "outside of layers", weightError: null, outputError: null });
      expect(block!.name).toBe("transformer_blocks.0");
      errors.push([block!.weightError!, block!.outputError!]);
    }
    for (const part of [0, 1]) {
      const [eight, five, four] = errors.map((pair) => pair[part]!);
      expect(eight).toBeGreaterThan(1e-4);
      expect(eight).toBeLessThan(0.02);
      expect(five).toBeGreaterThan(3 * eight!);
      expect(four).toBeGreaterThan(1.5 * five!);
      expect(four).toBeLessThan(0.3);
    }
  });

  it("weights that lie on the grid lose nothing, to the bit of what a layer makes of them", async () => {
    const grid = (_: string, weights: Map<string, TinyTensor>): void => {
      for (const { shape, data } of weights.values())
        if (shape.length === 2)
          for (let i = 0; i < data.length; i++) data[i] = i % 32 === 0 ? 127 / 1024 : Math.round(127 * Math.sin(i)) / 1024;
    };
    const { report } = await quantized({ type: "q8_0" }, await tinyCheckpoint({ edit: grid }));
    expect(report.layers[1]).toMatchObject({ weightError: 0, outputError: 0 });
  });

  it("what is kept can be chosen", async () => {
    const types = async (keep: string[]) => {
      const tensors = await read((await quantized({ type: "q4_0", keep })).file);
      return [...tensors].filter(([, { type }]) => type === "Q4_0").map(([name]) => name);
    };
    const all = await types([]);
    expect(all).toContain("proj_out.weight");
    expect(all).not.toContain("transformer_blocks.0.norm1.linear.weight"); // its rows of 16 are no blocks
    expect(await types(["attn1", "ff.net.2"])).toEqual(all.filter((name) => !/attn1|ff\.net\.2/.test(name)));
  });

  it("its file takes its place, with its config, at the size that is said", async () => {
    const path = join(files, "q8_0.gguf");
    await writeFile(path, (await quantized({ type: "q8_0" })).file);
    const base = await tinyCheckpoint({ configs: { transformer: { num_layers: 9 } } });
    await using model = await CogVideoX.open(base, { gpu, transformer: path });
    expect(model.configs.transformer.num_layers).toBe(1);
    expect(model.checkpoint.component("transformer").weights!.stored("transformer_blocks.0.attn1.to_q.weight")).toMatchObject({
      format: "q8_0",
      shape: [32, 32],
    });
  });
});

it("the text encoder, under llama.cpp's names", async () => {
  const configs = { text_encoder: { d_model: 32, d_ff: 64, relative_attention_max_distance: 20 }, transformer: { text_embed_dim: 32 } };
  const from = await tinyCheckpoint({ shaped: true, configs });
  const { file, report } = await quantized({ type: "q5_0", component: "text_encoder" }, from);
  const tensors = await read(file);
  expect(tensors.get("token_embd.weight")!.type).toBe("Q5_0");
  expect(tensors.get("enc.blk.0.attn_rel_b.weight")!.type).toBe("F16");
  expect(tensors.get("enc.blk.0.ffn_down.weight")!.type).toBe("Q5_0");
  expect(report.layers.map(({ name }) => name)).toEqual(["outside of layers", "encoder.block.0"]);
  expect(report.layers[1]!.outputError).toBeGreaterThan(0.005);
  await using model = await CogVideoX.open(from, { gpu, textEncoder: { source: memorySource({ x: file }), path: "x" } });
  expect(model.configs.text).toMatchObject({ d_model: 32, relative_attention_max_distance: 20 });
});

describe("what cannot be quantized is refused by name", () => {
  const edited = (edit: (data: Float32Array) => void) =>
    tinyCheckpoint({
      edit: (component, weights) => component === "transformer" && edit(weights.get("transformer_blocks.0.attn1.to_k.weight")!.data),
    });
  it.each<[string, Omit<QuantizeOptions, "gpu">, (() => Promise<string>) | undefined, RegExp]>([
    ["an unknown type", { type: "q3_k" as "q8_0" }, undefined, /^\[quantize\] the type must be one of q8_0, q5_0, q4_0, got "q3_k"/],
    ["the VAE", { type: "q8_0", component: "vae" as "transformer" }, undefined, /must be transformer or text_encoder, got "vae"/],
    ["a name that none has", { type: "q8_0", keep: ["attn1", "attn7"] }, undefined, /must be some of this transformer's, got attn7;/],
    ["a pattern", { type: "q8_0", keep: ["attn.*"] }, undefined, /must be words with dots between, got "attn\.\*"/],
    [
      "nothing",
      { type: "q8_0", keep: ["attn1", "ff", "patch_embed", "proj_out", "norm_out", "norm1", "norm2", "time_embedding"] },
      undefined,
      /some weights must be matrices/,
    ],
    [
      "a NaN",
      { type: "q4_0" },
      () => edited((data) => data.fill(NaN, 5, 6)),
      /to_k\.weight in .*: a weight must be finite numbers that q4_0 can scale/,
    ],
    [
      "a scale beyond f16",
      { type: "q4_0" },
      () => edited((data) => data.fill(3e6, 0, 1)),
      /to_k\.weight in .*: a weight must be finite numbers/,
    ],
  ])("%s", async (_, options, from, message) => {
    await expect(quantized(options, await from?.())).rejects.toThrow(message);
  });
});
