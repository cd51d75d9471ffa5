/** Which files the weights of a published checkpoint are in, and where each tensor stands in them. */
import { elements } from "../../base/shape.ts";
import { layoutSafetensors } from "../../files/safetensors-layout.ts";
import { expectedWeights, parseConfigs, type Part } from "../../pipelines/cogvideox/components.ts";
import type { PublishedModel } from "../../pipelines/cogvideox/published-models.ts";
import type { StoredType } from "./draw.ts";

export interface ShardOptions {
  /** Default: as published. */
  readonly dtype?: StoredType;
  /** Components whose weights are written; default: all. */
  readonly only?: readonly Part[];
  /** At most so many layers of the transformer and of the text encoder. */
  readonly layers?: number;
}

export interface SyntheticTensor {
  readonly dtype: StoredType;
  readonly shape: readonly number[];
}

/** One file of weights. */
export interface Shard {
  /** Within the checkpoint. */
  readonly path: string;
  readonly head: Uint8Array<ArrayBuffer>;
  /** Tensors in the order of their bytes, which follow the head. */
  readonly order: readonly (readonly [name: string, tensor: SyntheticTensor])[];
  /** Of the whole file. */
  readonly bytes: number;
}

export const SYNTHETIC_PARTS: readonly Part[] = ["transformer", "text_encoder", "vae"];

/** The configs, with as many layers as are asked for, and the files by component. */
export function shardsOf(
  model: PublishedModel,
  { dtype = model.dtype, only = SYNTHETIC_PARTS, layers = Infinity }: ShardOptions = {},
): { configs: PublishedModel["configs"]; shards: ReadonlyMap<Part, readonly Shard[]> } {
  const configs = Object.fromEntries(
    Object.entries(model.configs).map(([part, config]) => {
      const own = config["num_layers"];
      return [part, typeof own === "number" ? { ...config, num_layers: Math.min(layers, own) } : config];
    }),
  ) as PublishedModel["configs"];
  const weights = expectedWeights(
    parseConfigs((part) => configs[part]),
    only,
  );
  return { configs, shards: new Map(only.map((part) => [part, split(part, weights.get(part)!, dtype, model.shardBytes[part])])) };
}

const base = (part: Part): string => `${part}/${part === "text_encoder" ? "model" : "diffusion_pytorch_model"}`;

/** In the order of the state dict, a file ends before the tensor that would make it too large, as diffusers and transformers do it. */
function split(part: Part, weights: ReadonlyMap<string, readonly number[]>, dtype: StoredType, most: number): Shard[] {
  const groups: [string, SyntheticTensor][][] = [[]];
  let bytes = 0;
  for (const [name, shape] of weights) {
    const size = 2 * elements(shape);
    if (bytes > 0 && bytes + size > most) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)!.push([name, { dtype, shape }]);
    bytes += size;
  }
  const digits = (n: number): string => String(n).padStart(5, "0");
  return groups.map((tensors, i) => {
    const place = groups.length > 1 ? `-${digits(i + 1)}-of-${digits(groups.length)}` : "";
    return { path: `${base(part)}${place}.safetensors`, ...layoutSafetensors(tensors, { format: "pt" }) };
  });
}

/** The file that says in which shard a tensor is; undefined for one file. */
export function shardIndex(shards: readonly Shard[]): { path: string; json: object } | undefined {
  if (shards.length < 2) return undefined;
  const weight_map = Object.fromEntries(
    shards.flatMap(({ path, order }) => order.map(([name]) => [name, path.slice(path.indexOf("/") + 1)] as const)),
  );
  const total_size = shards.reduce((sum, { bytes, head }) => sum + bytes - head.length, 0);
  return { path: `${shards[0]!.path.replace(/-\d+-of-\d+(?=\.)/, "")}.index.json`, json: { metadata: { total_size }, weight_map } };
}
