/** What a published model takes, told from its configs alone: nothing of it need be there. */
import { elements } from "../../base/shape.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { memorySource } from "../../sources/memory.ts";
import { expectedWeights, parseConfigs } from "./components.ts";
import { CogVideoX } from "./pipeline.ts";
import type { PublishedModel } from "./published-models.ts";

/** What a model takes of an adapter, at the size that it was trained at. */
export interface PublishedFit {
  readonly size: string;
  readonly dtype: "f32" | "f16";
  /** Bytes with all weights of a part there, and the fewest, with which they come and go. */
  readonly bytes: number;
  readonly leastBytes: number;
}

/** Of all its weights as they are stored: in two bytes each. */
export const publishedBytes = ({ configs }: PublishedModel): number =>
  [...expectedWeights(parseConfigs((part) => configs[part])).values()].reduce(
    (sum, weights) => sum + [...weights.values()].reduce((bytes, shape) => bytes + 2 * elements(shape), 0),
    0,
  );

/** The model without its weights. @param name what messages call it */
export async function openPublished(name: string, { className, configs }: PublishedModel, gpu: Gpu): Promise<CogVideoX> {
  const json = (value: object) => new TextEncoder().encode(JSON.stringify(value));
  const parts = Object.entries(configs);
  const files = {
    "model_index.json": json({
      _class_name: className,
      tokenizer: ["transformers", "T5Tokenizer"],
      ...Object.fromEntries(parts.map(([part, config]) => [part, ["diffusers", classOf(config)]])),
    }),
    ...Object.fromEntries(
      parts.map(([part, config]) => [part === "scheduler" ? "scheduler/scheduler_config.json" : `${part}/config.json`, json(config)]),
    ),
  };
  return await CogVideoX.open(memorySource(files, name), { gpu, configsOnly: true });
}

/** Its plan on its device. It takes seconds. */
export function fitOf(model: CogVideoX): PublishedFit {
  const { width, height, frames } = model.defaults;
  // As on an adapter with room for everything: what is planned within less is the other figure.
  const all = { memoryBytes: Number.MAX_SAFE_INTEGER };
  const bytes = Math.max(...model.requirements(all).map(({ peak }) => peak));
  return { size: `${width}×${height}, ${frames} frames`, dtype: model.dtype, bytes, leastBytes: model.leastMemoryBytes(all) };
}

const classOf = (config: Readonly<Record<string, unknown>>): string =>
  String(config["_class_name"] ?? (config["architectures"] as readonly string[])[0]);
