/** What a published model takes on an adapter, and how long. */
import { availableMemoryBytes } from "#platform";
import { bytesText } from "../base/units.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { fitOf as planned, openPublished } from "../pipelines/cogvideox/published-fit.ts";
import type { PublishedModel } from "../pipelines/cogvideox/published-models.ts";
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
  published: PublishedModel,
  gpu: Gpu,
  measure: { signal: AbortSignal; progress: Progress } | undefined,
): Promise<FitHere> {
  try {
    await using model = await openPublished(name, published, gpu);
    const fit = planned(model);
    const refused = tooLittle(gpu, fit.leastBytes);
    const rates =
      measure && !refused
        ? await ratesUnlessOff(model, {
            signal: measure.signal,
            loading: false,
            onProgress: (done, what) => measure.progress.report("probe", done, `${name}: ${what}`),
          })
        : undefined;
    return { model: name, ...fit, refused, seconds: rates ? secondsOf(model.times(rates)) : null };
  } catch (error) {
    measure?.signal.throwIfAborted();
    return { model: name, size: "", dtype: "", bytes: 0, leastBytes: 0, seconds: null, refused: (error as Error).message };
  }
}
