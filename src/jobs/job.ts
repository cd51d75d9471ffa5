/** A job as it is stored: its request, how far it is, who works on it, what came out. */

import type { Digests } from "./stages.ts";
import type { TraceContext } from "./tracing.ts";

export type JobStatus = "queued" | "in_progress" | "completed" | "failed";

/** `text`: from a prompt; `image`: from a first picture; `video`: from a video (an edit); `extension`: going on from a video's last frame. */
export type GenerationKind = "text" | "image" | "video" | "extension";

/**
 * What two workers do together. `guidance`: the steps, each with one branch of guidance; `vae-time`: the VAE's work, each with frames of
 * the clip; `vae-space`: the same, each with rows of its pictures.
 */
export type JobSplit = "guidance" | "vae-time" | "vae-space";

/** An adapter that a job asks for, which is kept beside it. */
export interface JobAdapter {
  /** As requests call it. */
  readonly name: string;
  readonly blob: string;
  readonly scale: number;
}

/** What a video is to be, with the API's names resolved; settings left out are the model's own. */
export interface JobRequest {
  readonly kind: GenerationKind;
  readonly model: string;
  readonly prompt: string;
  readonly negativePrompt?: string;
  readonly width?: number;
  readonly height?: number;
  readonly frames?: number;
  readonly fps?: number;
  readonly steps?: number;
  readonly guidance?: number;
  /** Drawn when the job is made, so that whoever works on it makes the same bytes. */
  readonly seed: number;
  readonly split?: JobSplit;
  /** Of so many samples of this prompt and seed, which one this job makes, from 0 on; the others are jobs of their own. */
  readonly sample?: { readonly index: number; readonly of: number };
  /** How much of a video's steps are run, 0 to 1. */
  readonly strength?: number;
  readonly adapters?: readonly JobAdapter[];
  /** Blob of the input picture or video, as it was uploaded. */
  readonly input?: string;
}

export interface JobError {
  /** A word for programs: `cancelled`, `invalid_request`, `out_of_memory`, `failed`. */
  readonly code: string;
  readonly message: string;
}

/** Who works on a job, and until when nobody else may. */
export interface Lease {
  readonly worker: string;
  /** Milliseconds since 1970; renewed while the work goes on. */
  readonly until: number;
}

/** What sharing the steps took, as the leader counts it. */
export interface SharedSteps {
  readonly steps: number;
  /** Given and taken. */
  readonly bytes: number;
  /** Of those steps, and of them spent on giving a prediction and waiting for the other. */
  readonly seconds: number;
  readonly waitingSeconds: number;
}

/** What sharing the VAE's work on a clip took. */
export interface SharedClip {
  readonly part: "encode" | "decode";
  readonly axis: "time" | "space";
  /** Given and taken, and what was planned. */
  readonly bytes: number;
  readonly plannedBytes: number;
  /** Of the work, and of them those in which a device had nothing to do until the other gave something, on average of both. */
  readonly seconds: number;
  readonly waitingSeconds: number;
}

/** What the webhook of a prediction may be told of: as in Replicate's API. */
export type PredictionEvent = "start" | "output" | "logs" | "completed";

/** Of a job that was asked for by Replicate's calls. */
export interface AskedPrediction {
  /** The server's address, as its client called it: what the webhook is told has addresses too. */
  readonly base: string;
  readonly events: readonly PredictionEvent[];
}

export interface Job {
  /** `video_` and 32 hexadecimal digits, the first of them the time in milliseconds, so that ids sort by age. */
  readonly id: string;
  /** Digest of the key that made it; the empty string where the server asks for none. */
  readonly owner: string;
  readonly request: JobRequest;
  readonly status: JobStatus;
  /** Steps of denoising that are done, of so many; of 0 before a worker knows. */
  readonly step: number;
  readonly steps: number;
  /** Is the prompt encoded, and the blob there for who denoises it? */
  readonly encoded?: boolean;
  /** What the steps took that two workers shared. */
  readonly shared?: SharedSteps;
  /** What the VAE's work took that two workers shared. */
  readonly sharedClips?: readonly SharedClip[];
  /** 0 to 100. */
  readonly progress: number;
  readonly secondsLeft?: number;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly startedAt?: number;
  readonly completedAt?: number;
  readonly error?: JobError;
  /** How often a worker began it or went on with it. */
  readonly attempts: number;
  /** How often one did so since the last step was done: of a job that takes every worker down with it, this grows. */
  readonly fruitless?: number;
  readonly lease?: Lease;
  /** Digests of the weights of those who worked on it: another with other weights does not go on with it. */
  readonly weights?: Digests;
  /** Version of the engine that the first worker had. */
  readonly version?: string;
  /** The video that this one was made of, by remix, edit or extension. */
  readonly remixedFrom?: string;
  readonly idempotencyKey?: string;
  /** Digest of the request's body, which an idempotency key is bound to. */
  readonly fingerprint?: string;
  readonly webhook?: string;
  readonly prediction?: AskedPrediction;
  /** What the spans of whoever works on it go on from. */
  readonly trace?: TraceContext;
  /** When a worker gave it back, in milliseconds since 1970. */
  readonly queuedAt?: number;
  /** Of the video that came out. */
  readonly output?: { readonly blob: string; readonly type: string; readonly bytes: number; readonly digest: string };
}

/** Names of what belongs to a job. */
export const jobKey = (id: string): string => `job.${id}`;
export const embedsBlob = (id: string): string => `embeds.${id}`;
export const stateBlob = (id: string): string => `state.${id}`;
export const inputBlob = (id: string): string => `input.${id}`;
export const outputBlob = (id: string, what: "video" | "thumbnail" | "spritesheet" | "preview"): string => `output.${id}.${what}`;
