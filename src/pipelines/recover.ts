/** A generation that outlives its device. */
import type { DenoiseState } from "../models/cogvideox/model.ts";
import { GenerationInterrupted } from "./interrupted.ts";
import type { Opened } from "./opened.ts";
import type { Video } from "./video.ts";

/**
 * A device that was lost (a driver that was reset or updated, a laptop's GPU that was switched) is opened again, and the generation goes on
 * from its last step. Two losses without a step between them are one too many, and an app's own device is the app's to open.
 *
 * @param reopen opens the device again and prepares the request anew, from a state where there is one: another adapter may answer
 */
export async function recovering<Request>(
  opened: Opened,
  first: Request,
  { signal, onWarning }: { signal: AbortSignal; onWarning: ((message: string) => void) | undefined },
  run: (request: Request) => Promise<Video>,
  reopen: (request: Request, state: DenoiseState | undefined) => Promise<Request>,
): Promise<Video> {
  let request = first;
  for (let lostAt = -1; ; ) {
    try {
      return await run(request);
    } catch (error) {
      const state = error instanceof GenerationInterrupted ? error.state : undefined;
      const reached = state?.step ?? 0;
      const { lost } = opened.gpu;
      if (!opened.ownsGpu || !lost || signal.aborted || reached <= lostAt) throw error;
      lostAt = reached;
      onWarning?.(
        `[generate] the GPU device was lost (${lost.message.trim() || lost.reason}); ` +
          `it is opened again, and the generation goes on from step ${reached}`,
      );
      request = await reopen(request, state);
    }
  }
}
