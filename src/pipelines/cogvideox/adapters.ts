/** The adapters of a generation: read where they are named, and what they advise and change. */
import type { LoraChange } from "../../models/lora/merge.ts";
import type { LoadedLora, LoraInput } from "../lora-input.ts";
import { defined } from "../options.ts";
import type { Settings } from "../settings.ts";
import { components } from "./components.ts";
import type { Model } from "./model.ts";

export type ScaledLora = LoadedLora & { readonly scale: number };

/** What an adapter advised and nothing that was asked for overruled: the user is told. */
export function adviceTaken({ label = "the adapter", advice = {} }: ScaledLora, asked: Partial<Settings>, settings: Settings): string[] {
  const { steps, timesteps, ...others } = advice;
  // One of both stands for the schedule.
  const schedule = timesteps ? { timesteps } : defined({ steps });
  const own = { ...others, ...(asked.steps === undefined && asked.timesteps === undefined ? schedule : {}) };
  const taken = (Object.entries(own) as [keyof Settings, unknown][]).filter(
    ([name, value]) => asked[name] === undefined && String(settings[name]) === String(value),
  );
  const words = taken.map(([name, value]) => `${name} ${[value].flat().join(", ")}`).join("; ");
  return words ? [`[lora] ${label} advises ${words}: done so, where nothing else was asked for`] : [];
}

/** Adapters with their scales, read where they are named. */
export async function readAdapters({ parts }: Model, inputs: readonly LoraInput[] = []): Promise<ScaledLora[]> {
  const adapters: ScaledLora[] = [];
  if (!inputs.length) return adapters;
  const { loadLora } = await import("../lora-file.ts"); // a chunk of its own, as what becomes of adapters is
  for (const { adapter, scale = 1 } of inputs) {
    const named = typeof adapter === "string" || adapter instanceof URL;
    const loaded = named
      ? await parts.adapter(String(adapter), () => loadLora(adapter))
      : adapter instanceof Uint8Array
        ? await loadLora(adapter)
        : adapter;
    adapters.push({ ...loaded, scale });
  }
  return adapters;
}

/** Adapters as changes of this transformer's weights. */
export async function changesOf(
  { configs }: Pick<Model, "configs">,
  adapters: readonly ScaledLora[],
): Promise<Map<string, LoraChange[]> | undefined> {
  if (!adapters.length) return undefined;
  const shapes = components.transformer.weights(configs.transformer);
  const { loraChanges } = await import("../../models/lora/changes.ts");
  return loraChanges(adapters, shapes.keys(), (name) => shapes.get(name));
}
