/** The work of `cogwheel queue add --plan`: what two workers would give each other for a job, and where that pays. */
import { bytesIn, clipBytes, planClip } from "../jobs/clip.ts";
import { measureQueue } from "../jobs/queue-rates.ts";
import type { JobBackend } from "../jobs/backend.ts";
import type { JobRequest } from "../jobs/job.ts";
import { livingWorkers } from "../jobs/workers.ts";
import { readOffer } from "../pipelines/cogvideox/offer.ts";
import { completed, latentFrames } from "../pipelines/settings.ts";
import { spatialRatio } from "../models/vae/config.ts";
import { defined } from "../pipelines/options.ts";
import { modelNamed } from "./model-names.ts";

/** One way to share a job. */
export interface SplitPlan {
  readonly split: NonNullable<JobRequest["split"]>;
  readonly what: string;
  readonly bytes: number;
  readonly turns: number;
  readonly exchangeSeconds: number;
  /** Seconds of one worker beyond which two are faster. */
  readonly paysBeyondSeconds: number;
}

export interface JobPlans {
  /** Of the queue, as measured. */
  readonly turnSeconds: number;
  readonly bytesPerSecond: number;
  readonly splits: readonly SplitPlan[];
}

/** @param from the checkpoint whose configs say what is exchanged */
export async function planJob(
  backend: JobBackend,
  from: string,
  request: Pick<JobRequest, "width" | "height" | "frames" | "guidance">,
): Promise<JobPlans> {
  const { name, configs, rules, defaults } = await readOffer(modelNamed(from));
  const { width, height, frames, guidance } = completed(defaults, defined({ ...request }));
  const stored = (await livingWorkers(backend.values)).flatMap(({ models }) => models).find((one) => one.name === name)?.dtype;
  const rates = await measureQueue(backend);
  const ratio = spatialRatio(configs.vae);
  const size = { batch: 1, frames: latentFrames(frames, rules.temporal), height: height / ratio, width: width / ratio };
  const dtype = stored === "f32" || stored === undefined ? "f32" : "f16";
  const clip = { part: "decode", format: "rgba", dtype, ...size } as const;
  const plan = (split: SplitPlan["split"], what: string, bytes: number, turns: number, exchangeSeconds: number): SplitPlan => ({
    ...{ split, what, bytes, turns, exchangeSeconds, paysBeyondSeconds: 2 * exchangeSeconds },
  });
  const prediction = 4 * configs.vae.latent_channels * clip.frames * clip.height * clip.width;
  const step = 2 * (rates.turnSeconds + prediction / rates.bytesPerSecond);
  const decoded = (["time", "space"] as const).map((axis) => {
    const made = planClip("decode", clipBytes(configs.vae, { ...clip, axis }), rates);
    return plan(`vae-${axis}`, "decoding", bytesIn(made), made.turns, made.exchangeSeconds);
  });
  const splits = [...(guidance > 1 ? [plan("guidance", "a step", 2 * prediction, 1, step)] : []), ...decoded];
  return { ...rates, splits };
}
