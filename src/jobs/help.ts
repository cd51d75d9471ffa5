/** A worker that takes one branch of guidance of a job that another has the lease of (pair.ts). */
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { readEmbeds } from "../pipelines/embeds-file.ts";
import { defined } from "../pipelines/options.ts";
import { readLatents } from "../pipelines/read-latents.ts";
import { pause } from "../base/pause.ts";
import type { SavedRun } from "../pipelines/latents-file.ts";
import { askedOf } from "./inputs.ts";
import { embedsBlob, stateBlob, type Job } from "./job.ts";
import { PairEnded, PairFollow } from "./pair.ts";
import { isOver, type JobStore } from "./store.ts";

/** The state after a step is there soon after the leader asks for a partner from there on. */
const STATE_MS = 20;

/**
 * Joins the job, and computes its branch of all steps that are left. Throws where the leader is gone, or goes on without this worker.
 * @param leader the worker that has the job's lease
 */
export async function helpWith(
  store: JobStore,
  job: Job,
  leader: string,
  model: CogVideoX,
  { id, leaseMs }: { readonly id: string; readonly leaseMs: number },
  outer: AbortSignal,
  onRenewed: () => Promise<void>,
): Promise<void> {
  const { blobs } = store.backend;
  /** The job's state once so many steps are done. */
  const saved = async (ready: (step: number) => boolean, signal: AbortSignal): Promise<SavedRun> => {
    for (;;) {
      const bytes = await blobs.get(stateBlob(job.id));
      const run = bytes && (await readLatents(bytes, stateBlob(job.id)).catch(() => undefined));
      if (run && ready(run.state.step)) return run;
      await pause(STATE_MS, signal);
    }
  };
  await using follow = await PairFollow.join(
    store.backend,
    job,
    id,
    leaseMs,
    outer,
    async (step, signal) => (await saved((one) => one === step, signal)).state,
    onRenewed,
  );
  if (!follow) return;
  const { signal } = follow;
  const watching = watchLeader(store, job, leader, follow);
  try {
    // Frames that the job began from were encoded by its leader: what is joined is a run that is under way.
    const reached = await saved((step) => step >= 1, signal);
    const embeds = await blobs.get(embedsBlob(job.id));
    const promptEmbeds = embeds && (await readEmbeds(embeds));
    if (!promptEmbeds) throw new PairEnded("the prompt's embeddings are gone");
    const { options } = await askedOf(job.request, blobs, reached, { signal, most: 1 });
    const share = { latentsOnly: true, promptEmbeds, partner: follow, ...defined({ sample: job.request.sample }) };
    await model.generate({ ...options, share, signal });
  } finally {
    follow.end("its work is over");
    await watching;
  }
}

/** Ends the work when the job is another's, or over. */
async function watchLeader(store: JobStore, { id, attempts }: Job, leader: string, follow: PairFollow): Promise<void> {
  try {
    for await (const job of store.follow(id, follow.signal))
      if (!job || isOver(job) || job.attempts !== attempts || job.lease?.worker !== leader) return follow.end("its leader is done or gone");
  } catch {
    // A partner that is not renewed is found by the leader too.
  }
}
