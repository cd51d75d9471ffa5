/** Workers of jobs in this process, and waiting for what they reach. */
import type { Job } from "../../src/jobs/job.ts";
import { isOver, type JobStore } from "../../src/jobs/store.ts";
import { work, type WorkerOptions } from "../../src/jobs/worker.ts";

export interface JobWorker extends AsyncDisposable {
  readonly id: string;
  /** What it said. */
  readonly notes: readonly string[];
}

/** A worker until disposed, which is called by `name` and a number of its own. */
export function jobWorker(store: JobStore, name: string, options: Pick<WorkerOptions, "models"> & Partial<WorkerOptions>): JobWorker {
  const controller = new AbortController();
  const notes: string[] = [];
  const id = `${name}-${Math.random().toString(36).slice(2)}`;
  const done = work(store, { id, version: "test", leaseMs: 2000, ...options, onNote: (note) => notes.push(note) }, controller.signal);
  return {
    id,
    notes,
    async [Symbol.asyncDispose]() {
      controller.abort();
      await done;
    },
  };
}

/** The job once it is so. Throws where it ends before, or takes too long. */
export async function untilJob(store: JobStore, id: string, ready: (job: Job) => boolean, ms = 60_000): Promise<Job> {
  for await (const job of store.follow(id, AbortSignal.timeout(ms))) {
    if (!job) throw new Error(`${id} was deleted`);
    if (ready(job)) return job;
    if (isOver(job)) throw new Error(`${id} is ${job.status}: ${job.error?.message}`);
  }
  throw new Error(`${id} took too long`);
}
