/** A job as Replicate's clients see it, and what their calls take. */
import { z } from "zod";
import type { Job, PredictionEvent } from "../jobs/job.ts";
import { isOver } from "../jobs/store.ts";
import { generationFields, promptField, strengthField, webhookField } from "./fields.ts";

/** What a prediction is made of: the settings of `/v1/videos`, by the names that models have at Replicate. */
export const predictionInput = z
  .strictObject({
    prompt: promptField,
    ...generationFields,
    strength: strengthField,
    image: z.string().optional().describe("a data: address of a picture to begin with"),
    video: z.string().optional().describe("a data: address of a video to begin with, or the output of a prediction of this server"),
  })
  .meta({ id: "PredictionInput" });

const EVENTS = ["start", "output", "logs", "completed"] as const satisfies readonly PredictionEvent[];

const others = {
  webhook: webhookField.optional(),
  webhook_events_filter: z
    .array(z.enum(EVENTS))
    .max(EVENTS.length)
    .optional()
    .describe(`a list of ${EVENTS.join(", ")}: what the webhook is told of; output and completed where it is left out`),
  stream: z.boolean().optional().describe("true or false; every prediction can be streamed"),
};
const version = z.string().max(500).optional().describe("the name of a model that /v1/models lists, also as OWNER/NAME or OWNER/NAME:NAME");
const input = { input: predictionInput };

export const createPrediction = z.strictObject({ version, ...input, ...others }).meta({ id: "CreatePrediction" });
export const createModelPrediction = z.strictObject({ ...input, ...others }).meta({ id: "CreateModelPrediction" });
/** The outer fields alone, so that what is wrong inside of `input` is told by its own name. */
export const predictionBody = z.strictObject({
  version,
  input: z.record(z.string(), z.unknown()).describe("an object that has a prompt"),
  ...others,
});

export const predictionsQuery = z.strictObject({
  cursor: z
    .string()
    .regex(/^(after|before)-video_[0-9a-f]{32}$/)
    .optional()
    .describe("one of an address in next or previous"),
});

export const predictionShape = z
  .object({
    id: z.string(),
    model: z.string(),
    version: z.string(),
    input: z.record(z.string(), z.unknown()).describe("the settings, as they were resolved"),
    output: z.string().nullable().describe("the video's address, which asks for no key"),
    error: z.string().nullable(),
    logs: z.string().describe("a bar of progress, as tqdm draws it"),
    status: z.enum(["starting", "processing", "succeeded", "failed", "canceled"]),
    source: z.literal("api"),
    data_removed: z.boolean(),
    created_at: z.string(),
    started_at: z.string().nullable(),
    completed_at: z.string().nullable(),
    metrics: z.object({ predict_time: z.number().optional(), total_time: z.number().optional() }).describe("seconds"),
    webhook: z.string().optional(),
    webhook_events_filter: z.array(z.enum(EVENTS)).optional(),
    urls: z.object({ get: z.string(), cancel: z.string(), stream: z.string(), web: z.string() }),
  })
  .meta({ id: "Prediction" });
export type PredictionAnswer = z.output<typeof predictionShape>;

export const predictionsShape = z
  .object({ previous: z.string().nullable(), next: z.string().nullable(), results: z.array(predictionShape) })
  .meta({ id: "PredictionList" });
export const problemShape = z
  .object({
    title: z.string(),
    detail: z.string(),
    status: z.number(),
    invalid_fields: z.array(z.object({ type: z.string(), field: z.string(), description: z.string() })).optional(),
  })
  .meta({ id: "Problem" });

export function statusOf({ status, error }: Job): PredictionAnswer["status"] {
  if (status === "queued") return "starting";
  if (status === "in_progress") return "processing";
  if (status === "completed") return "succeeded";
  return error?.code === "cancelled" ? "canceled" : "failed";
}

/** Cells of a bar of progress. */
const CELLS = 30;

/** As tqdm draws it, which is what Replicate's client reads progress from. */
export function logsOf({ step, steps }: Job): string {
  if (steps === 0) return "";
  const done = Math.round((CELLS * step) / steps);
  return `${Math.floor((100 * step) / steps)}%|${"█".repeat(done)}${" ".repeat(CELLS - done)}| ${step}/${steps}\n`;
}

const time = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());
const secondsBetween = (from: number | undefined, to: number): number => Math.max(0, to - (from ?? to)) / 1000;

export interface Addresses {
  /** The server's, as its client called it. */
  readonly base: string;
  /** What lets whoever has the video's address read it; undefined where the server asks for no keys. */
  readonly token: string | undefined;
}

export function predictionOf(job: Job, { base, token }: Addresses): PredictionAnswer {
  const { id, request, createdAt, startedAt, completedAt, error } = job;
  const at = `${base}/v1/predictions/${id}`;
  const query = token === undefined ? "" : `?token=${token}`;
  const input = {
    prompt: request.prompt,
    negative_prompt: request.negativePrompt,
    width: request.width,
    height: request.height,
    num_frames: request.frames,
    fps: request.fps,
    num_inference_steps: request.steps,
    guidance_scale: request.guidance,
    seed: request.seed,
    strength: request.strength,
  };
  return {
    id,
    model: `cogwheel/${request.model}`,
    version: request.model,
    input: Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined)),
    output: job.status === "completed" ? `${at}/output${query}` : null,
    error: error ? error.message : null,
    logs: logsOf(job),
    status: statusOf(job),
    source: "api",
    data_removed: false,
    created_at: time(createdAt)!,
    started_at: time(startedAt),
    completed_at: time(completedAt),
    metrics:
      isOver(job) && completedAt !== undefined
        ? { predict_time: secondsBetween(startedAt, completedAt), total_time: secondsBetween(createdAt, completedAt) }
        : {},
    ...(job.prediction && job.webhook !== undefined ? { webhook: job.webhook, webhook_events_filter: [...job.prediction.events] } : {}),
    urls: { get: at, cancel: `${at}/cancel`, stream: `${at}/stream${query}`, web: `${base}/` },
  };
}
