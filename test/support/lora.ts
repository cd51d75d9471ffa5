/** Adapters of drawn values for the tiny transformer. */
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { loraChanges } from "../../src/models/lora/changes.ts";
import type { LoraTensor } from "../../src/models/lora/merge.ts";
import { values } from "./compare.ts";

// Of the tiny transformer: 32 wide, conditioning of 16.
export const MODULES: Record<string, [number, number]> = {
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
export function pairs(
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
export const plain = (module: string, part: "A" | "B") => `transformer.${module}.lora_${part}.weight`;
export const fileOf = (tensors: ReadonlyMap<string, LoraTensor>, metadata: Record<string, string> = {}) =>
  writeSafetensors(
    Object.fromEntries([...tensors].map(([name, { shape, data }]) => [name, { dtype: "F32" as const, shape, data }])),
    metadata,
  );

/** Of the weights that adapters may change. */
export const shapes = new Map(Object.entries(MODULES).map(([module, shape]) => [`${module}.weight`, shape]));
/** What an adapter at half its strength changes; of each change a few values. */
export const changesOf = (tensors: ReadonlyMap<string, LoraTensor>, config?: Record<string, unknown>) =>
  [...loraChanges([{ tensors, scale: 0.5, ...(config ? { config } : {}) }], shapes.keys(), (name) => shapes.get(name))]
    .map(([name, list]) => [name, list.map(({ rank, factor, up, down }) => ({ rank, factor, up: up[3], down: down[5] }))])
    .sort();
