/** A worker that takes a share of a job that another has the lease of: a branch of guidance (pair.ts), or a part of a clip (clip.ts). */
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { readEmbeds } from "../pipelines/embeds-file.ts";
import { defined } from "../pipelines/options.ts";
import { readLatents } from "../pipelines/read-latents.ts";
import { pause } from "../base/pause.ts";
import type { SavedRun } from "../pipelines/latents-file.ts";
import { askedOf } from "./inputs.ts";
import { embedsBlob, type Job, jobKey, stateBlob } from "./job.ts";
import { followClip } from "./clip.ts";
import { PairFollow } from "./pair.ts";
import { PairEnded, PartnerHold } from "./partner.ts";
import { readRecord } from "./records.ts";
import { WeightStore } from "../run/weight-store.ts";
import { isOver, type JobStore } from "./store.ts";

/** The state after a step is there soon after the leader asks for a partner from there on. */
const STATE_MS = 20;

/** A job that another worker leads, and who joins it. */
export interface Helped {
  readonly store: JobStore;
  readonly job: Job;
  /** The worker that has the job's lease. */
  readonly leader: string;
  readonly model: CogVideoX;
  readonly partner: { readonly id: string; readonly leaseMs: number };
  /** Bytes of the adapter's memory that may be taken, where that is known. */
  readonly roomBytes: number | undefined;
  readonly signal: AbortSignal;
  readonly onRenewed: () => Promise<void>;
}

/** Joins the job, and computes its branch of all steps that are left. Throws where the leader is gone, or goes on without this worker. */
export async function helpWithSteps(helped: Helped): Promise<void> {
  const { store, job, model } = helped;
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
  await joined(helped, async (hold) => {
    const { signal } = hold;
    await using follow = new PairFollow(store.backend, hold, async (step, signal) => (await saved((one) => one === step, signal)).state);
    // Frames that the job began from were encoded by its leader: what is joined is a run that is under way.
    const reached = await saved((step) => step >= 1, signal);
    const embeds = await blobs.get(embedsBlob(job.id));
    const promptEmbeds = embeds && (await readEmbeds(embeds));
    if (!promptEmbeds) throw new PairEnded("the prompt's embeddings are gone");
    const { options } = await askedOf(job.request, blobs, reached, { signal, most: 1 });
    const share = { latentsOnly: true, promptEmbeds, partner: follow, ...defined({ sample: job.request.sample }) };
    await model.generate({ ...options, share, signal });
  });
}

/** Joins the job, and computes its part of the clip that the leader then says. Throws where the leader is gone, or goes on alone. */
export async function helpWithClip(helped: Helped): Promise<void> {
  const { store, model, roomBytes } = helped;
  await joined(helped, async (hold) => {
    const { config, weights: provider } = await model.vae(hold.signal);
    using weights = new WeightStore(model.gpu, provider);
    await followClip(store.backend, hold, { gpu: model.gpu, weights, config }, roomBytes);
  });
}

/** Work as the job's partner, where nobody else is; it ends when the leader does. */
async function joined(
  { store, job, leader, partner, signal, onRenewed }: Helped,
  work: (hold: PartnerHold) => Promise<void>,
): Promise<void> {
  await using hold = await PartnerHold.take(store.backend, job, partner.id, partner.leaseMs, signal, onRenewed);
  if (!hold) return;
  const watching = [watchLeader(store, job, leader, hold), watchLease(store, job, partner.leaseMs, hold)];
  try {
    await work(hold);
  } finally {
    hold.end("its work is over");
    await Promise.all(watching);
  }
}

/** Ends the work when the job is another's, or over. */
async function watchLeader(store: JobStore, { id, attempts }: Job, leader: string, hold: PartnerHold): Promise<void> {
  try {
    for await (const job of store.follow(id, hold.signal))
      if (!job || isOver(job) || job.attempts !== attempts || job.lease?.worker !== leader) return hold.end("its leader is done or gone");
  } catch {
    // A partner that is not renewed is found by the leader too.
  }
}

/** Ends the work when the leader is not heard of any more: a lease that runs out changes nothing that a watch could tell. */
async function watchLease({ backend }: JobStore, { id }: Job, leaseMs: number, hold: PartnerHold): Promise<void> {
  while (!hold.signal.aborted) {
    await pause(leaseMs / 4, hold.signal).catch(() => undefined);
    if (hold.signal.aborted) return;
    const found = await readRecord<Job>(backend.values, jobKey(id)).catch(() => undefined);
    if (found?.record.lease && found.record.lease.until < Date.now()) hold.end("its leader was not heard of any more");
  }
}
