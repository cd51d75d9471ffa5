/** Runs of training that are led over a queue, for people who look at it. */
import type { KeyValues } from "../jobs/backend.ts";
import { microPrefix, readShared, runIds, runKey, type SharedMicro, type SharedRun } from "./records.ts";

export interface QueuedTraining extends Pick<SharedRun, "id" | "model" | "version" | "accumulation" | "step" | "steps" | "at"> {
  readonly trains: "an adapter" | "the whole model";
  /** Was its leader heard of lately? Without it nothing goes on. */
  readonly led: boolean;
  /** Micro-steps of the step that is under way, by what became of them. */
  readonly computed: number;
  readonly waiting: number;
  /** Those that are computed now, by whom. */
  readonly computing: readonly string[];
  /** What a worker failed with last, of this step. */
  readonly failure?: string;
}

/** All of them; what cannot be read is left out. */
export async function trainingRuns(values: KeyValues, now = Date.now()): Promise<QueuedTraining[]> {
  const read = async <T extends SharedRun | SharedMicro>(key: string): Promise<T | undefined> =>
    (await readShared<T>(values, key).catch(() => undefined))?.record;
  const runs = await Promise.all(
    (await runIds(values)).map(async (id): Promise<QueuedTraining | undefined> => {
      const run = await read<SharedRun>(runKey(id));
      if (!run) return undefined;
      const micros = (await Promise.all((await values.keys(microPrefix(id))).map((key) => read<SharedMicro>(key)))).flatMap(
        (one) => one ?? [],
      );
      const computed = micros.filter(({ result }) => result).length;
      const computing = micros.flatMap(({ result, lease }) => (!result && lease && lease.until > now ? [lease.worker] : []));
      const { model, version, accumulation, step, steps, at, recipe } = run;
      const failure = micros.findLast(({ failure }) => failure !== undefined)?.failure;
      return {
        ...{ id, model, version, accumulation, trains: "lora" in recipe.trained ? "an adapter" : "the whole model" },
        ...(step === undefined ? {} : { step }),
        ...(steps === undefined ? {} : { steps }),
        ...(at === undefined ? {} : { at }),
        ...{ led: run.until > now, computed, computing, waiting: micros.length - computed - computing.length },
        ...(failure === undefined ? {} : { failure }),
      };
    }),
  );
  return runs.flatMap((run) => run ?? []);
}
