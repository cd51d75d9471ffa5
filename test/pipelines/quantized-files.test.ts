/** Quantized files through generate: the bytes that come out are those of the numbers which the files stand for. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeGguf } from "../../src/files/gguf-write.ts";
import { dequantize, quantize, type QuantizedType } from "../../src/files/quantize.ts";
import { writeSafetensors, type TensorToWrite } from "../../src/files/safetensors.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { transformerMetadata } from "../../src/models/cogvideox/gguf.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { ggufMetadata, ggufName } from "../../src/models/t5/gguf.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import type { OpenOptions } from "../../src/pipelines/options.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { toHalf, values } from "../support/compare.ts";
import { dequantized } from "../support/dequantize.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, TINY_CONFIGS, tinyCheckpoint, tinyWeights, type TinyTensor } from "../support/tiny-checkpoint.ts";

const CONFIGS = {
  text_encoder: { ...TINY_CONFIGS.text_encoder, d_model: 32, d_ff: 64, relative_attention_max_distance: 128 },
  transformer: { ...TINY_CONFIGS.transformer, text_embed_dim: 32 },
};
type Part = keyof typeof CONFIGS;

let gpu: Gpu;
let bytesBefore: number;
beforeAll(async () => {
  gpu = await testGpu();
  bytesBefore = gpu.memory.allocated;
});
afterAll(async () => {
  await removeTinyCheckpoints();
  expect(gpu.memory.allocated, "bytes left behind by this file").toBe(bytesBefore);
});

async function made(from: string, options: OpenOptions = {}, loras?: { adapter: Uint8Array }[]): Promise<string> {
  await using model = await CogVideoX.open(from, { gpu, dtype: "f32", ...options });
  const { state, frames } = await model.generate({ prompt: "a red circle", seed: 3, frames: 1, ...(loras ? { loras } : {}) });
  return `${Buffer.from(state.latents.buffer).toString("base64")} ${Buffer.from(frames[0]!.data).toString("base64")}`;
}

/** A checkpoint of plain files, with some weights of a part replaced. */
const checkpoint = (part?: Part, weights?: ReadonlyMap<string, TinyTensor>): Promise<string> =>
  tinyCheckpoint({
    shaped: true,
    configs: CONFIGS,
    edit: (component, all) => {
      if (component === part) for (const [name, tensor] of weights!) all.set(name, tensor);
    },
  });

const isMatrix = ({ shape }: TinyTensor): boolean => shape.length === 2 && shape[1]! % 32 === 0;
const matricesOf = (part: Part) => [...tinyWeights(part, 1, CONFIGS[part])].filter(([, tensor]) => isMatrix(tensor));
const at = (file: Uint8Array) => ({ source: memorySource({ x: file }), path: "x" });

/** The matrices of a part in blocks, and the numbers that these are. */
function inBlocks(part: Part, type: QuantizedType) {
  const blocks = new Map(matricesOf(part).map(([name, { data }]) => [name, quantize(data, type)]));
  const numbers = new Map(matricesOf(part).map(([name, { shape }]) => [name, { shape, data: dequantize(blocks.get(name)!, type) }]));
  return { blocks, numbers };
}

/** A part as GGUF: matrices in blocks, others as they are. */
function gguf(part: Part, type: QuantizedType, blocks: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const text = part === "text_encoder";
  return writeGguf(
    text ? ggufMetadata(parseT5Config(CONFIGS.text_encoder)) : transformerMetadata(CONFIGS.transformer),
    [...tinyWeights(part, 1, CONFIGS[part])].map(([published, { shape, data }]) => {
      const name = text ? ggufName(published)! : published;
      const found = blocks.get(published);
      return { name, shape, type: found ? type.toUpperCase() : "F32", data: found ?? data };
    }),
  );
}

/** A part as safetensors: some of its weights as tensors of other names and types. */
function safetensors(part: Part, replaced: (name: string, tensor: TinyTensor) => Record<string, TensorToWrite> | undefined): Uint8Array {
  const plain = (name: string, { shape, data }: TinyTensor): Record<string, TensorToWrite> => ({ [name]: { dtype: "F32", shape, data } });
  const all = [...tinyWeights(part, 1, CONFIGS[part])].map(([name, tensor]) => replaced(name, tensor) ?? plain(name, tensor));
  return writeSafetensors(Object.assign({}, ...all) as Record<string, TensorToWrite>);
}

describe.each(["q8_0", "q5_0", "q4_0"] as const)("%s", (type) => {
  it.each(["transformer", "text_encoder"] as const)("GGUF: %s", async (part) => {
    const { blocks, numbers } = inBlocks(part, type);
    const want = await made(await checkpoint(part, numbers));
    const option = part === "transformer" ? "transformer" : "textEncoder";
    expect(await made(await checkpoint(), { [option]: at(gguf(part, type, blocks)) })).toBe(want);
    expect(want).not.toBe(await made(await checkpoint()));
  });

  it("blocks in safetensors", async () => {
    const { blocks, numbers } = inBlocks("transformer", type);
    const file = safetensors("transformer", (name, { shape }) => {
      const data = blocks.get(name);
      const key = `${name.replace(/weight$/, "")}${type.toUpperCase()}_qweight`;
      return data && { [key]: { dtype: "U8", shape: [shape[0]!, data.length / shape[0]!], data } };
    });
    expect(await made(await checkpoint(), { transformer: at(file) })).toBe(await made(await checkpoint("transformer", numbers)));
  });
});

it("fp8, with a scale for a matrix, for each of its rows, and without", async () => {
  const draw = (count: number, seed: number) => Uint8Array.from(values(count, seed), (v) => Math.trunc(64 + 63 * v)); // no NaN
  const matrices = matricesOf("transformer");
  const fp8 = new Map(
    matrices.map(([name, { shape }], i) => {
      const bytes = draw(shape[0]! * shape[1]!, i + 1).map((byte, j) => (j % 2 ? byte | 128 : byte)); // half of them negative
      const scale = values(i % 2 ? shape[0]! : 1, i + 50, 1e-3);
      return [name, { shape, bytes, scale }];
    }),
  );
  const numbers = new Map(
    [...fp8].map(([name, { shape, bytes, scale }]) => [name, { shape, data: dequantized(bytes, { format: "e4m3", shape, scale }) }]),
  );
  const file = safetensors("transformer", (name) => {
    const found = fp8.get(name);
    if (!found) return undefined;
    const { shape, bytes, scale } = found;
    const rows = scale.length > 1;
    return {
      [name]: { dtype: "F8_E4M3", shape, data: bytes },
      [name.replace(/weight$/, rows ? "weight_scale" : "scale_weight")]: { dtype: "F32", shape: rows ? [shape[0]!, 1] : [], data: scale },
    };
  });
  expect(await made(await checkpoint(), { transformer: at(file) })).toBe(await made(await checkpoint("transformer", numbers)));
});

it("f16 storage of blocks is that of their numbers", async () => {
  if (!gpu.caps.f16) return expect(gpu.caps.f16, "this adapter has no f16 to store weights in").toBe(false);
  const { blocks, numbers } = inBlocks("transformer", "q4_0");
  const want = await made(await checkpoint("transformer", numbers), { dtype: "f16" });
  expect(await made(await checkpoint(), { dtype: "f16", transformer: at(gguf("transformer", "q4_0", blocks)) })).toBe(want);
});

it("an adapter is merged into blocks as into their numbers", async () => {
  const { blocks, numbers } = inBlocks("transformer", "q8_0");
  const module = "transformer.transformer_blocks.0.attn1.to_q";
  const half = (shape: number[], seed: number): TensorToWrite => ({
    dtype: "F16",
    shape,
    data: toHalf(values(shape[0]! * shape[1]!, seed, 0.3)),
  });
  const adapter = writeSafetensors({ [`${module}.lora_A.weight`]: half([4, 32], 1), [`${module}.lora_B.weight`]: half([32, 4], 2) });
  const want = await made(await checkpoint("transformer", numbers), {}, [{ adapter }]);
  expect(await made(await checkpoint(), { transformer: at(gguf("transformer", "q8_0", blocks)) }, [{ adapter }])).toBe(want);
  expect(want).not.toBe(await made(await checkpoint("transformer", numbers)));
});
