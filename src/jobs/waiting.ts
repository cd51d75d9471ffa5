/** What a job waits for, by what the workers say of themselves. */
import type { Job } from "./job.ts";
import { sizeKey } from "./room.ts";
import { canTake, isAlike, isBegun, nextStage, STAGES } from "./stages.ts";
import { isOver } from "./store.ts";
import type { WorkerRecord } from "./workers.ts";

export interface Waiting {
  /** In words that follow "waits for". */
  readonly what: string;
  /** Workers that can take it; one that has not said whether it has room may have it. */
  readonly able: number;
}

/** Workers that are named in one sentence. */
const NAMED = 4;

function named(all: readonly string[]): string {
  const each = [...new Set(all)];
  return each.slice(0, NAMED).join(", ") + (each.length > NAMED ? ` and ${each.length - NAMED} more` : "");
}

/** What must come before a job is worked on; undefined where it is, or is over. */
export function waitsFor(job: Job, workers: readonly WorkerRecord[], now = Date.now()): Waiting | undefined {
  if (isOver(job) || (job.lease && job.lease.until > now)) return undefined;
  const { model } = job.request;
  const others = (what: string): Waiting => ({ what, able: 0 });
  if (workers.length === 0) return others("a worker: none is there");
  const weightsOf = ({ models }: WorkerRecord) => models.find(({ name }) => name === model)?.weights;
  const serving = workers.filter((worker) => weightsOf(worker) !== undefined);
  if (serving.length === 0) {
    const served = workers.flatMap(({ models }) => models.map(({ name }) => name));
    return others(`a worker that serves ${model}: those that are there serve ${named(served) || "none"}`);
  }
  const doing = serving.filter(({ stages = STAGES }) => canTake(new Set(stages), job));
  if (doing.length === 0) {
    const done = serving.flatMap(({ stages = STAGES }) => stages);
    return others(`a worker that does ${nextStage(job)} of ${model}: those that are there do ${named(done)}`);
  }
  const alike = doing.filter(
    (worker) => !isBegun(job) || (worker.version === job.version && isAlike(job.weights ?? {}, weightsOf(worker)!)),
  );
  if (alike.length === 0)
    return others(
      `a worker of version ${job.version} with the weights that it was begun with: those of ${model} that are there are others`,
    );
  const size = sizeKey(job.request);
  const roomy = alike.filter(({ room }) => typeof room?.[size] !== "string");
  if (roomy.length === 0) return others(`a worker with more memory: ${named(alike.map(({ id, room }) => `${id} ${room![size]}`))}`);
  const able = roomy.length;
  return { what: able === 1 ? "the worker that can take it" : `one of ${able} workers that can take it`, able };
}
