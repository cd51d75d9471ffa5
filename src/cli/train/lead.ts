/** A run whose micro-steps, or replicas, are left to the workers of a queue, which encode what it learns from too. */
import { openJobs } from "../../jobs/open-node.ts";
import { Leader, ReplicaLeader } from "../../ranks/leader.ts";
import { rankModel } from "../../ranks/rank-model.ts";
import type { LeaderOptions, TaskLeader } from "../../ranks/task-leader.ts";
import { QueueEncoding } from "../../tasks/encoding.ts";
import { dilocoOf } from "../../training/diloco/options.ts";
import type { TrainOptions } from "../../training/options.ts";
import { engineVersion } from "../engine-version.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import { queuedFolder } from "../queued-folder.ts";
import { modelName } from "../worker.ts";
import type { TrainingWork } from "./steps.ts";

export interface LedRun extends AsyncDisposable {
  readonly leader: TaskLeader;
  /** What workers compute, in words. */
  readonly what: string;
  /** The options of a run that its workers take part in. */
  withWorkers(options: TrainOptions): TrainOptions;
  /** Has the workers encode clips and captions too. */
  readonly encoding: QueueEncoding;
}

/** Opens the queue; the run's name in it follows from the folder that it is kept in, and a run that goes on finds what it left. */
export async function leadRun(queue: string, { config, model, progress, signal }: TrainingWork): Promise<LedRun> {
  const note = (message: string): void => progress.note(message);
  const backend = await openJobs(queue, note);
  try {
    const name = modelName(config.model ?? EMBEDDED_MODEL);
    const shared = {
      ...queuedFolder(config.out),
      version: engineVersion(),
      signal,
      onNote: note,
    };
    const { diloco } = config.options;
    const options: LeaderOptions = {
      ...shared,
      model: await rankModel(name, model, config.options.dtype ?? model.dtype, signal),
      accumulation: diloco ? dilocoOf(diloco).replicas : (config.options.accumulation ?? 1),
      steps: config.steps,
    };
    const of = diloco ? replicasOf(new ReplicaLeader(backend, options)) : microsOf(new Leader(backend, options));
    const encoding = new QueueEncoding(backend, model, { ...shared, model: name });
    return {
      ...of,
      encoding,
      async [Symbol.asyncDispose]() {
        await encoding[Symbol.asyncDispose]();
        await of.leader[Symbol.asyncDispose]();
        await backend[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await backend[Symbol.asyncDispose]();
    throw error;
  }
}

type Led = Pick<LedRun, "leader" | "what" | "withWorkers">;

const microsOf = (leader: Leader): Led => ({
  leader,
  what: "micro-steps",
  withWorkers: (options) => ({ ...options, workers: leader }),
});

const replicasOf = (leader: ReplicaLeader): Led => ({
  leader,
  what: "rounds of replicas",
  withWorkers: (options) => ({ ...options, diloco: { ...options.diloco!, workers: leader } }),
});
