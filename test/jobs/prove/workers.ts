/** Workers of a queue as processes, each with one thread of the machine. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { openJobs } from "../../../src/jobs/open-node.ts";
import { isOver, JobStore } from "../../../src/jobs/store.ts";
import type { Job, JobRequest } from "../../../src/jobs/job.ts";

const LAUNCH = resolve("dist/launch.js");

export interface Workers {
  readonly store: JobStore;
  /** Jobs of these requests, once all are done. */
  make(requests: readonly JobRequest[]): Promise<Job[]>;
  /** What the workers have said. */
  said(): string;
}

/** Calls `use` with so many workers that are there. @param queue that is nobody else's */
export async function withWorkers<T>(queue: string, count: number, signal: AbortSignal, use: (workers: Workers) => Promise<T>): Promise<T> {
  const env = { ...process.env, LP_NUM_THREADS: "1" };
  let said = "";
  // A group each, which ends whole: the launcher starts others.
  const started = Array.from({ length: count }, () => {
    const child = spawn(process.execPath, [LAUNCH, "worker", "--queue", queue], {
      detached: true,
      env,
      stdio: ["ignore", "ignore", "pipe"],
    });
    child.stderr.on("data", (part: Buffer) => (said += part.toString()));
    return child;
  });
  try {
    await using backend = await openJobs(queue);
    const store = new JobStore(backend);
    while ((await backend.values.keys("worker.")).length < count) {
      signal.throwIfAborted();
      if (started.some(({ exitCode }) => exitCode !== null)) throw new Error(`a worker ended before it took a job: ${said}`);
      await new Promise((done) => setTimeout(done, 50));
    }
    const over = async (id: string): Promise<Job> => {
      for await (const job of store.follow(id, signal)) {
        if (job?.status === "failed") throw new Error(`${id} failed: ${job.error?.message}`);
        if (job && isOver(job)) return job;
      }
      throw signal.reason;
    };
    const make = async (requests: readonly JobRequest[]): Promise<Job[]> => {
      const ids = await Promise.all(requests.map(async (request) => (await store.create({ request })).id));
      return await Promise.all(ids.map(over));
    };
    return await use({ store, make, said: () => said });
  } finally {
    for (const child of started) {
      if (child.exitCode !== null) continue;
      const gone = once(child, "close");
      process.kill(-child.pid!, "SIGKILL");
      await gone;
    }
  }
}
