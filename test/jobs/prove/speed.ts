/** A queue of generations by one worker, then by two, each of one thread of the machine: how much faster two are. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join, resolve } from "node:path";
import { openJobs } from "../../../src/jobs/open-node.ts";
import { isOver, JobStore } from "../../../src/jobs/store.ts";

const LAUNCH = resolve("dist/launch.js");
const request = {
  kind: "text",
  ...{ model: "moving-shapes", prompt: "a red circle moving left", width: 64, height: 64, frames: 9, steps: 10, seed: 5 },
} as const;

/** Seconds that so many workers take for so many jobs, once each has its pipelines. @param queue that is nobody else's */
async function seconds(queue: string, workers: number, jobs: number): Promise<number> {
  const env = { ...process.env, LP_NUM_THREADS: "1" };
  // A group each, which ends whole: the launcher starts others.
  const started = Array.from({ length: workers }, () =>
    spawn(process.execPath, [LAUNCH, "worker", "--queue", queue], { detached: true, env, stdio: "ignore" }),
  );
  try {
    await using backend = await openJobs(queue);
    const store = new JobStore(backend);
    const made = async (count: number): Promise<void> => {
      const ids = await Promise.all(Array.from({ length: count }, async () => (await store.create({ request })).id));
      await Promise.all(
        ids.map(async (id) => {
          for await (const job of store.follow(id, AbortSignal.timeout(1_800_000))) {
            if (job?.status === "failed") throw new Error(`${id} failed: ${job.error?.message}`);
            if (job && isOver(job)) return;
          }
        }),
      );
    };
    while ((await backend.values.keys("worker.")).length < workers) {
      if (started.some(({ exitCode }) => exitCode !== null)) throw new Error("a worker ended before it took a job");
      await new Promise((done) => setTimeout(done, 50));
    }
    await made(3 * workers);
    const began = performance.now();
    await made(jobs);
    return (performance.now() - began) / 1000;
  } finally {
    for (const child of started) {
      if (child.exitCode !== null) continue;
      const gone = once(child, "close");
      process.kill(-child.pid!, "SIGKILL");
      await gone;
    }
  }
}

/** @param folder for queues of its own */
export async function speed(jobs: number, folder: string): Promise<{ factor: number; words: string }> {
  const [one, two] = [await seconds(join(folder, "by-one"), 1, jobs), await seconds(join(folder, "by-two"), 2, jobs)];
  const factor = one / two;
  return {
    factor,
    words: `${jobs} jobs by one worker: ${one.toFixed(1)} s; by two: ${two.toFixed(1)} s, ${factor.toFixed(2)} times as fast`,
  };
}
