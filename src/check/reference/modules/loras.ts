/** A case's adapters: merged into the weights, or beside them, where gradients with respect to them are asked for. */
import { brief } from "../../../base/brief.ts";
import { CogwheelError } from "../../../base/errors.ts";
import { factorInput, type LiveLoras } from "../../../models/cogvideox/linear.ts";
import { parseLoraKey } from "../../../models/lora/keys.ts";
import { loraName, LoraWeights, type LoraChange } from "../../../models/lora/merge.ts";
import { Layout, type PartLayout } from "../layout.ts";
import type { ReferenceCase } from "../reference-case.ts";

/** The scales of a case's adapters: one each, or none for 1. */
export function loraScales(c: ReferenceCase): number[] {
  const scales = c.options["lora"] ?? c.loras.map(() => 1);
  if (Array.isArray(scales) && scales.length === c.loras.length && scales.every((s) => typeof s === "number" && Number.isFinite(s)))
    return scales as number[];
  throw new CogwheelError(
    "reference",
    `${c.name}: options.lora must be a scale for each of ${c.loras.length} adapters, got ${brief(scales)}; correct it`,
  );
}

async function changesOf(c: ReferenceCase): Promise<ReadonlyMap<string, readonly LoraChange[]>> {
  const scales = loraScales(c);
  const { loraChanges } = await import("../../../models/lora/changes.ts");
  const adapters = c.loras.map((tensors, i) => ({ tensors, scale: scales[i]!, label: `${c.name}: lora.${i}` }));
  return loraChanges(adapters, c.weights.keys(), (name) => c.weights.get(name)?.shape);
}

/** The changes of weights, to be merged when these are loaded; none where the case has no adapters. */
export async function mergedLoras(c: ReferenceCase): Promise<{ changes?: (name: string) => readonly LoraChange[] }> {
  if (c.loras.length === 0) return {};
  const changes = await changesOf(c);
  return { changes: (name) => changes.get(name) ?? [] };
}

/** What `linear` needs of adapters beside the weights: inputs with their factors, and how the stacked matrices hold the case's. */
export interface CaseLoras {
  readonly loras: LiveLoras;
  readonly factors: Readonly<Record<string, Float32Array>>;
  weight(name: string): Layout | undefined;
}

/** All adapters of the case beside the weights; undefined where it has none. */
export async function liveLoras(c: ReferenceCase): Promise<CaseLoras | undefined> {
  if (c.loras.length === 0) return undefined;
  const changes = await changesOf(c);
  const shapeOf = (weight: string) => c.weights.get(weight)!.shape;
  const loras = new LoraWeights(changes, shapeOf);
  const layouts = new Map<string, Layout>();
  const modules = new Map([...changes.keys()].map((weight) => moduleOf(weight)).map((name) => [name.replaceAll(".", "_"), name]));
  for (const weight of changes.keys()) {
    const [out, ...rest] = shapeOf(weight) as [number, ...number[]];
    const [rank, inner] = [loras.rank(weight), rest.reduce((a, b) => a * b, 1)];
    const parts = { down: {} as Record<string, PartLayout>, up: {} as Record<string, PartLayout> };
    let first = 0;
    // An adapter has one pair a weight, and those of a weight are stacked in the order of the adapters.
    for (const [i, tensors] of c.loras.entries()) {
      const start = first;
      for (const [key, { shape }] of tensors) {
        const target = parseLoraKey(key, modules);
        if (target?.module !== moduleOf(weight)) continue;
        const name = `lora.${i}.${key}`;
        if (target.part === "up") parts.up[name] = { shape, at: ([o, r]) => o! * rank + start + r! };
        if (target.part !== "down") continue;
        parts.down[name] = { shape, first: start * inner };
        first += shape[0]!;
      }
    }
    layouts.set(loraName("down", weight), new Layout([rank, inner], parts.down));
    layouts.set(loraName("up", weight), new Layout([out, rank], parts.up));
  }
  return {
    loras,
    factors: Object.fromEntries([...changes.keys()].map((weight) => [factorInput(weight), loras.factors(weight)])),
    weight: (name) => layouts.get(name),
  };
}

const moduleOf = (weight: string): string => weight.replace(/\.weight$/, "");
