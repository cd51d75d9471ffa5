/** What a published model takes on an adapter, planned from its configs alone: nothing of it need be there. */
import { availableMemoryBytes } from "#platform";
import { bytesText } from "../base/units.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { PublishedModel } from "../pipelines/cogvideox/published-models.ts";
import { memorySource } from "../sources/memory.ts";
import { ratesUnlessOff } from "../tuning/rates.ts";
import { secondsOf } from "./stage-table.ts";
import type { Progress } from "./terminal/progress.ts";

/** What a published model takes here, at the size that it was trained at. */
export interface FitHere {
  readonly model: string;
  readonly size: string;
  /** Bytes of the adapter with all weights there, and the fewest with which they come and go; in `dtype`. */
  readonly bytes: number;
  readonly leastBytes: number;
  readonly dtype: string;
  readonly seconds: number | null;
  /** Why it cannot run here. */
  readonly refused: string | null;
}

/** Does a CPU adapter have this much? Of a GPU nobody can ask. */
function tooLittle(gpu: Gpu, least: number): string | null {
  const free = gpu.caps.kind === "software" ? availableMemoryBytes() : undefined;
  return free !== undefined && least > free ? `needs ${bytesText(least, 1)}, ${bytesText(free, 1)} are to be had` : null;
}

/** A published model's plan on the device, from its configs alone. @param measure to tell seconds */
export async function fitOf(
  name: string,
  { className, configs }: PublishedModel,
  gpu: Gpu,
  measure: { signal: AbortSignal; progress: Progress } | undefined,
): Promise<FitHere> {
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
  try {
    await using model = await CogVideoX.open(memorySource(files, name), { gpu, configsOnly: true });
    const { width, height, frames } = model.defaults;
    // As on an adapter with room for everything: what is planned within less is the other figure.
    const all = { memoryBytes: Number.MAX_SAFE_INTEGER };
    const stages = model.requirements(all);
    const leastBytes = model.leastMemoryBytes(all);
    const refused = tooLittle(gpu, leastBytes);
    const rates =
      measure && !refused
        ? await ratesUnlessOff(model, {
            signal: measure.signal,
            loading: false,
            onProgress: (done, what) => measure.progress.report("probe", done, `${name}: ${what}`),
          })
        : undefined;
    return {
      ...{ model: name, size: `${width}×${height}, ${frames} frames`, dtype: model.dtype, leastBytes, refused },
      bytes: Math.max(...stages.map(({ peak }) => peak)),
      seconds: rates ? secondsOf(model.times(rates)) : null,
    };
  } catch (error) {
    measure?.signal.throwIfAborted();
    return { model: name, size: "", dtype: "", bytes: 0, leastBytes: 0, seconds: null, refused: (error as Error).message };
  }
}

const classOf = (config: Readonly<Record<string, unknown>>): string =>
  String(config["_class_name"] ?? (config["architectures"] as readonly string[])[0]);
