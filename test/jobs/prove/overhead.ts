/**
 * What a queue adds to a generation: from the call that makes a job to its result, less the same generation with its file and pictures and
 * no queue, in turn, in one process.
 */
import { join, resolve } from "node:path";
import { openJobs } from "../../../src/jobs/open-node.ts";
import { isOver, JobStore } from "../../../src/jobs/store.ts";
import { sheet, thumbnail } from "../../../src/jobs/pictures.ts";
import { CogVideoX } from "../../../src/pipelines/cogvideox/pipeline.ts";
import { encodeVideo } from "../../../src/video/encode.ts";
import { jobWorker } from "../../support/job-worker.ts";
import { startNats } from "../../support/nats-server.ts";
import type { Proof } from "./state.ts";

const MODEL = resolve("models/moving-shapes");
const settings = { prompt: "a red circle moving left", width: 32, height: 32, frames: 9, steps: 4, seed: 5 };
const request = { kind: "text", model: "moving-shapes", ...settings } as const;

/** Milliseconds at most. */
const MOST = { "a folder": 20, "a NATS server": 50 } as const;

const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.ceil((sorted.length - 1) / 2)]!) / 2;
};

/** Milliseconds of each: without a queue, and what the queue adds. */
async function measure(queue: string, times: number, model: CogVideoX): Promise<{ bare: number[]; added: number[] }> {
  await using backend = await openJobs(queue);
  const store = new JobStore(backend);
  const clock = async (run: () => Promise<void>): Promise<number> => {
    const began = performance.now();
    await run();
    return performance.now() - began;
  };
  const bare = async (): Promise<void> => {
    const { frames, settings: made, made: how } = await model.generate(settings);
    await encodeVideo(frames, { format: "mp4", fps: made.fps, made: how });
    await Promise.all([thumbnail(frames), sheet(frames)]);
  };
  const queued = async (): Promise<void> => {
    const { id } = await store.create({ request });
    for await (const job of store.follow(id, AbortSignal.timeout(60_000))) {
      if (job?.status === "failed") throw new Error(`${id} failed: ${job.error?.message}`);
      if (job && isOver(job)) return;
    }
    throw new Error(`${id} took too long`);
  };
  // The worker's own model has its parts on the adapter, as the bare one has.
  const open = () => CogVideoX.open(MODEL, { gpu: model.gpu, keep: true });
  await using _ = jobWorker(store, "overhead", { models: [{ name: "moving-shapes", open }], previewMs: 0, leaseMs: 30_000 });
  const found = { bare: [] as number[], added: [] as number[] };
  for (let n = -2; n < times; n++) {
    const [alone, over] = [await clock(bare), await clock(queued)];
    if (n < 0) continue; // pipelines, weights
    found.bare.push(alone);
    found.added.push(over - alone);
  }
  return found;
}

/** @param times pairs of generations on each queue @param nats path of a server; without one the folder alone is measured */
export async function overhead(times: number, folder: string, nats: string | undefined, say: (line: string) => void): Promise<Proof> {
  const problems: string[] = [];
  const told: string[] = [];
  await using model = await CogVideoX.open(MODEL, { keep: true });
  const one = async (what: keyof typeof MOST, queue: string): Promise<void> => {
    const { bare, added } = await measure(queue, times, model);
    const [ms, least, most] = [median(added), Math.min(...added), Math.max(...added)];
    const words =
      `${what} adds ${ms.toFixed(1)} ms to a generation of ${median(bare).toFixed(0)} ms ` +
      `(${times} pairs, ${least.toFixed(0)} to ${most.toFixed(0)} ms)`;
    say(words);
    told.push(words);
    if (ms > MOST[what]) problems.push(`${what} may add ${MOST[what]} ms to a generation, got ${ms.toFixed(1)} ms; run it on idle cores`);
  };
  await one("a folder", join(folder, `folder-${process.pid}`));
  if (nats !== undefined) {
    await using server = await startNats(nats, join(folder, `nats-${process.pid}`));
    await one("a NATS server", server.url);
  }
  return { problems, words: told.join("; ") };
}
