/** A generation that outlives its device, and the memory that it was planned for. */
import { causeOf } from "../base/cause.ts";
import { bytesText } from "../base/units.ts";
import { OutOfMemory } from "../gpu/gpu.ts";
import type { DenoiseState } from "../models/cogvideox/model.ts";
import { GenerationInterrupted } from "./interrupted.ts";
import type { Opened } from "./opened.ts";

/** How a request is prepared anew after a failure, from a state where there is one. */
export interface Recovery<Request> {
  /** Opens the device again: another adapter may answer. */
  reopen(request: Request, state: DenoiseState | undefined): Promise<Request>;
  /** Plans it within less memory; undefined where it is planned for the least already. */
  lower(request: Request, state: DenoiseState | undefined, error: OutOfMemory): Promise<Request | undefined>;
}

/**
 * A device that was lost (a driver that was reset or updated, a laptop's GPU that was switched) is opened again, and the generation goes on
 * from its last step. Two losses without a step between them are one too many, and an app's own device is the app's to open. Where an
 * adapter runs out of memory, of which WebGPU does not tell beforehand how much there is, the generation goes on within less, and says so
 * once.
 */
export async function recovering<Request, T>(
  opened: Opened,
  first: Request,
  { signal, onWarning }: { signal: AbortSignal; onWarning: ((message: string) => void) | undefined },
  run: (request: Request) => Promise<T>,
  { reopen, lower }: Recovery<Request>,
): Promise<T> {
  let request = first;
  let warned = false;
  /** The last state there was: an attempt that fails before its first step leaves none of its own. */
  let state: DenoiseState | undefined;
  for (let lostAt = -1; ; ) {
    try {
      return await run(request);
    } catch (error) {
      if (error instanceof GenerationInterrupted) state = error.state;
      if (signal.aborted) throw error;
      const reached = state?.step ?? 0;
      const { lost } = opened.gpu;
      if (lost) {
        if (!opened.ownsGpu || reached <= lostAt) throw error;
        lostAt = reached;
        onWarning?.(
          `[generate] the GPU device was lost (${lost.message.trim() || lost.reason}); ` +
            `it is opened again, and the generation goes on from step ${reached}`,
        );
        request = await reopen(request, state);
        continue;
      }
      const short = causeOf(error, OutOfMemory);
      const lighter = short && (await lower(request, state, short));
      if (!lighter) throw error;
      if (!warned)
        onWarning?.(
          `[generate] the adapter ran out of memory with ${bytesText(short.allocated, 1)}; the generation is planned within less and ` +
            `goes on from step ${reached}; say how much there is (memoryBytes, --memory) to have it planned so from the start`,
        );
      warned = true;
      request = lighter;
    }
  }
}
