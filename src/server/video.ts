/** A job as clients see it. */
import type { Job } from "../jobs/job.ts";
import type { VideoAnswer } from "./fields.ts";

const seconds = (ms: number | undefined): number | null => (ms === undefined ? null : Math.floor(ms / 1000));

/** What is not in the job itself. */
export interface Around {
  /** How many jobs wait before it. */
  readonly position?: number;
  /** What it waits for. */
  readonly waitsFor?: string | null;
  /** When it will be deleted. */
  readonly expiresAt: number | undefined;
}

export function videoOf(job: Job, { position, waitsFor = null, expiresAt }: Around): VideoAnswer {
  const { request, completedAt } = job;
  const { width, height, frames, fps } = request;
  return {
    id: job.id,
    object: "video",
    model: request.model,
    status: job.status,
    progress: Math.floor(job.progress),
    prompt: request.prompt,
    seconds: frames && fps ? String(Math.round((100 * frames) / fps) / 100) : "",
    size: width && height ? `${width}x${height}` : "",
    created_at: Math.floor(job.createdAt / 1000),
    completed_at: seconds(completedAt),
    expires_at: seconds(expiresAt),
    remixed_from_video_id: job.remixedFrom ?? null,
    error: job.error ?? null,
    started_at: seconds(job.startedAt),
    num_frames: frames ?? null,
    fps: fps ?? null,
    seed: request.seed,
    step: job.step,
    steps: job.steps,
    seconds_left: job.secondsLeft ?? null,
    queue_position: position ?? null,
    waits_for: waitsFor,
  };
}
