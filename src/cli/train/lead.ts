/** A run whose micro-steps are left to the workers of a queue. */
import { createHash } from "node:crypto";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { openJobs } from "../../jobs/open-node.ts";
import { Leader } from "../../ranks/leader.ts";
import { rankModel } from "../../ranks/rank-model.ts";
import { engineVersion } from "../engine-version.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import { modelName } from "../worker.ts";
import type { TrainingWork } from "./steps.ts";

export interface LedRun extends AsyncDisposable {
  readonly leader: Leader;
}

/** Opens the queue; the run's name in it follows from the folder that it is kept in, so that a run that goes on finds what it left there. */
export async function leadRun(queue: string, { config, model, progress, signal }: TrainingWork): Promise<LedRun> {
  const note = (message: string): void => progress.note(message);
  const backend = await openJobs(queue, note);
  try {
    const leader = new Leader(backend, {
      id: createHash("sha256")
        .update(`${hostname()} ${resolve(config.out)}`)
        .digest("hex")
        .slice(0, 16),
      model: await rankModel(modelName(config.model ?? EMBEDDED_MODEL), model, config.options.dtype ?? model.dtype, signal),
      version: engineVersion(),
      accumulation: config.options.accumulation ?? 1,
      steps: config.steps,
      at: `${hostname()}:${resolve(config.out)}`,
      signal,
      onNote: note,
    });
    return {
      leader,
      async [Symbol.asyncDispose]() {
        await leader[Symbol.asyncDispose]();
        await backend[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await backend[Symbol.asyncDispose]();
    throw error;
  }
}
