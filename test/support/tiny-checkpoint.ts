/**
 * A whole CogVideoX checkpoint of a few hundred kilobytes in diffusers' layout, with random weights, in a folder of its own.
 * Its weights are exact in bf16 and in f16, so that every way of storing them must give the same video, byte for byte.
 */
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SafetensorsDType } from "../../src/files/safetensors-dtype.ts";
import { writeSafetensors, type TensorToWrite } from "../../src/files/safetensors.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { expectedT5Weights } from "../../src/models/t5/weights.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { vaeWeights } from "../../src/models/vae/batches.ts";
import { toHalf, values } from "./compare.ts";
import { TINY_CONFIGS } from "./tiny-configs.ts";

export { TINY_CONFIGS };

export interface TinyTensor {
  shape: readonly number[];
  data: Float32Array;
}
export type WeightsComponent = "text_encoder" | "transformer" | "vae";

export interface TinyOptions {
  /** Seed of the weights. Default 1. */
  seed?: number;
  /** How the files store them. Default F32. */
  dtype?: "F32" | "F16" | "BF16";
  /** In the file names, e.g. `fp16`. */
  variant?: string;
  /** Files a component. Default 1, without an index. */
  shards?: number;
  /** Name of T5's embedding. Default `shared.weight`. */
  embedding?: "shared.weight" | "encoder.embed_tokens.weight" | "both";
  /** Class of the pipeline. Default `CogVideoXPipeline`. */
  pipeline?: string;
  /** Do the weights follow changed configs? Default: they stay those of the tiny ones, so that a config can lie. */
  shaped?: boolean;
  /** Changes to the configs, by component. */
  configs?: { [K in keyof typeof TINY_CONFIGS]?: Record<string, unknown> };
  /** Changes the weights before they are written. */
  edit?: (component: WeightsComponent, weights: Map<string, TinyTensor>) => void;
  /** `generation.json`. Default: 9 frames of 32×16 in 4 steps. */
  advice?: Record<string, unknown>;
}

const MODEL = join(import.meta.dirname, "../../models/moving-shapes");
const folders: string[] = [];

/** Writes a checkpoint into a new folder and gives its path; `removeTinyCheckpoints` takes all of them away. */
export async function tinyCheckpoint(options: TinyOptions = {}): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-tiny-"));
  folders.push(folder);
  const write = async (path: string, content: string | Uint8Array) => {
    await mkdir(join(folder, path, ".."), { recursive: true });
    await writeFile(join(folder, path), content);
  };
  const config = <K extends keyof typeof TINY_CONFIGS>(name: K): Record<string, unknown> => ({
    ...TINY_CONFIGS[name],
    ...options.configs?.[name],
  });
  const json = (value: unknown) => JSON.stringify(value, null, 2);
  await write(
    "model_index.json",
    json({
      _class_name: options.pipeline ?? "CogVideoXPipeline",
      scheduler: ["diffusers", config("scheduler")["_class_name"]],
      text_encoder: ["transformers", "T5EncoderModel"],
      tokenizer: ["transformers", "T5Tokenizer"],
      transformer: ["diffusers", "CogVideoXTransformer3DModel"],
      vae: ["diffusers", "AutoencoderKLCogVideoX"],
    }),
  );
  await write(
    "generation.json",
    json(options.advice ?? { height: 16, width: 32, num_frames: 9, fps: 8, num_inference_steps: 4, guidance_scale: 3 }),
  );
  await write("scheduler/scheduler_config.json", json(config("scheduler")));
  for (const name of ["text_encoder", "transformer", "vae"] as const) {
    await write(`${name}/config.json`, json(config(name)));
    const weights = tinyWeights(name, options.seed ?? 1, options.shaped ? config(name) : TINY_CONFIGS[name]);
    if (name === "text_encoder" && options.embedding && options.embedding !== "shared.weight") {
      weights.set("encoder.embed_tokens.weight", weights.get("shared.weight")!);
      if (options.embedding !== "both") weights.delete("shared.weight");
    }
    options.edit?.(name, weights);
    await writeWeights(write, name, weights, options);
  }
  await mkdir(join(folder, "tokenizer"));
  for (const file of ["spiece.model", "tokenizer_config.json"])
    await copyFile(join(MODEL, "tokenizer", file), join(folder, "tokenizer", file));
  return folder;
}

export async function removeTinyCheckpoints(): Promise<void> {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
}

/** Every weight that the tiny configs want. */
export function tinyWeights(
  component: WeightsComponent,
  seed: number,
  config: Record<string, unknown> = TINY_CONFIGS[component],
): Map<string, TinyTensor> {
  const shapes: Map<string, readonly number[]> =
    component === "text_encoder"
      ? expectedT5Weights(parseT5Config(config))
      : component === "transformer"
        ? transformerWeights(parseTransformerConfig(config))
        : vaeWeights(parseVaeConfig(config));
  let number = 1000 * seed;
  return new Map(
    [...shapes].map(([name, shape]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      const data = values(size, number++, shape.length > 1 ? Math.sqrt(3 / (size / shape[0]!)) : 0.1);
      if (name.startsWith("decoder.conv_out")) for (let i = 0; i < size; i++) data[i]! /= 4; // few pixels black or white
      if (/norm.*weight$|norm_layer.weight$/.test(name) && shape.length === 1) for (let i = 0; i < size; i++) data[i]! += 1;
      return [name, { shape, data: data.map(exact) }];
    }),
  );
}

/** The nearest number (towards zero) that bf16 and f16 both hold. */
function exact(v: number): number {
  if (Math.abs(v) < 2 ** -13) return 0;
  const bits = new DataView(new ArrayBuffer(4));
  bits.setFloat32(0, v);
  bits.setUint32(0, bits.getUint32(0) & 0xffff0000);
  return bits.getFloat32(0);
}

/** f32 → the upper half of its bits. */
export const toBrain = (data: Float32Array): Uint16Array =>
  Uint16Array.from(new Uint32Array(data.buffer, data.byteOffset, data.length), (bits) => bits >>> 16);

function stored({ shape, data }: TinyTensor, dtype: SafetensorsDType): TensorToWrite {
  return { dtype, shape, data: dtype === "F16" ? toHalf(data) : dtype === "BF16" ? toBrain(data) : data };
}

async function writeWeights(
  write: (path: string, bytes: string | Uint8Array) => Promise<void>,
  component: WeightsComponent,
  weights: Map<string, TinyTensor>,
  { dtype = "F32", variant, shards = 1 }: TinyOptions,
): Promise<void> {
  const base = component === "text_encoder" ? "model" : "diffusion_pytorch_model";
  const suffix = variant ? `.${variant}` : "";
  const tensors = [...weights].map(([name, tensor]) => [name, stored(tensor, dtype)] as const);
  if (shards === 1) return write(`${component}/${base}${suffix}.safetensors`, writeSafetensors(new Map(tensors)));
  const digits = (n: number) => String(n).padStart(5, "0");
  const map: Record<string, string> = {};
  for (let shard = 0; shard < shards; shard++) {
    const file = `${base}${suffix}-${digits(shard + 1)}-of-${digits(shards)}.safetensors`;
    const part = tensors.filter((_, i) => i % shards === shard);
    for (const [name] of part) map[name] = file;
    await write(`${component}/${file}`, writeSafetensors(new Map(part)));
  }
  await write(`${component}/${base}.safetensors.index${suffix}.json`, JSON.stringify({ metadata: {}, weight_map: map }));
}
