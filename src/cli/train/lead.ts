/** A run whose micro-steps are left to the workers of a queue, which encode what it learns from too. */
import { createHash } from "node:crypto";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { openJobs } from "../../jobs/open-node.ts";
import { Leader } from "../../ranks/leader.ts";
import { rankModel } from "../../ranks/rank-model.ts";
import { QueueEncoding } from "../../tasks/encoding.ts";
import { engineVersion } from "../engine-version.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import { modelName } from "../worker.ts";
import type { TrainingWork } from "./steps.ts";

export interface LedRun extends AsyncDisposable {
  readonly leader: Leader;
  /** Has the workers encode clips and captions too. */
  readonly encoding: QueueEncoding;
}

/** Opens the queue; the run's name in it follows from the folder that it is kept in, so that a run that goes on finds what it left there. */
export async function leadRun(queue: string, { config, model, progress, signal }: TrainingWork): Promise<LedRun> {
  const note = (message: string): void => progress.note(message);
  const backend = await openJobs(queue, note);
  try {
    const name = modelName(config.model ?? EMBEDDED_MODEL);
    const shared = {
      id: createHash("sha256")
        .update(`${hostname()} ${resolve(config.out)}`)
        .digest("hex")
        .slice(0, 16),
      version: engineVersion(),
      at: `${hostname()}:${resolve(config.out)}`,
      signal,
      onNote: note,
    };
    const leader = new Leader(backend, {
      ...shared,
      model: await rankModel(name, model, config.options.dtype ?? model.dtype, signal),
      accumulation: config.options.accumulation ?? 1,
      steps: config.steps,
    });
    const encoding = new QueueEncoding(backend, model, { ...shared, model: name });
    return {
      leader,
      encoding,
      async [Symbol.asyncDispose]() {
        await encoding[Symbol.asyncDispose]();
        await leader[Symbol.asyncDispose]();
        await backend[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await backend[Symbol.asyncDispose]();
    throw error;
  }
}
