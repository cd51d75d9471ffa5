/**
 * What the calls take and give. Each shape is defined once: requests are checked by it, and `/openapi.json` is made of it. Fields of
 * OpenAI's own API and the extension fields of vLLM-Omni have the names that they have there. Clients send forms, in which every value is a
 * text, so numbers and objects are taken as texts too.
 */
import { z } from "zod";
import { nearestName } from "../base/near-name.ts";
import { ApiError, invalid } from "./errors.ts";

/** A number, or a text that is one. */
const number = z.union([
  z.number(),
  z
    .string()
    .regex(/^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i)
    .transform(Number),
]);
/** An object of a shape, or JSON of one. */
const json = <T extends z.ZodType>(shape: T) =>
  z.union([
    shape,
    z.string().transform((text, context): z.output<T> => {
      try {
        const read = shape.safeParse(JSON.parse(text));
        if (read.success) return read.data;
      } catch {
        // told below
      }
      context.addIssue({ code: "custom" });
      return z.NEVER;
    }),
  ]);
const object = json(z.record(z.string(), z.unknown()));
const name = z.string().min(1).max(64);
/** As vLLM-Omni names one, or as diffusers' `set_adapters` takes several. */
const loraShape = z.union([
  z.strictObject({ name, scale: number.optional() }),
  z.strictObject({
    adapter_names: z.union([name, z.array(name).min(1).max(8)]),
    adapter_weights: z.union([number, z.array(number).max(8)]).optional(),
  }),
]);
/** What was uploaded: in a form a file. */
const file = z.custom<Uint8Array<ArrayBuffer>>((value) => value instanceof Uint8Array).meta({ type: "string", format: "binary" });

export const promptField = z.string().min(1).max(100_000).describe("a text that says what to show, of at most 100,000 characters");
const seconds = number.describe("a number of seconds, such as 2; the model makes the nearest length that it can");
export const webhookField = z.string().max(2000).describe("an http or https address that is told when the job has ended");

/** Settings of a generation. */
export const generationFields = {
  seconds: seconds.optional(),
  size: z
    .string()
    .regex(/^\d{1,6}x\d{1,6}$/)
    .optional()
    .describe("WIDTHxHEIGHT in pixels, such as 720x480"),
  width: number.optional().describe("a number of pixels; wins over size"),
  height: number.optional().describe("a number of pixels; wins over size"),
  num_frames: number.optional().describe("a number of frames; wins over seconds"),
  fps: number.optional().describe("a number of frames a second"),
  num_inference_steps: number.optional().describe("a number of denoising steps"),
  guidance_scale: number.optional().describe("a number, 1 switches guidance off"),
  negative_prompt: z.string().max(100_000).optional().describe("a text that says what not to show"),
  seed: number.optional().describe("a whole number; the same seed gives the same video"),
  flow_shift: number.optional().describe("a number; no model here has a flow schedule, so it is refused"),
  lora: json(loraShape)
    .optional()
    .describe("an object of name and scale, or of adapter_names and adapter_weights, of adapters that the server has"),
};
export const strengthField = number.optional().describe("a number above 0, up to 1: how far from the given video the result may go");
/** What `extra_params` may hold. */
export const extraFields = z.strictObject({ ...generationFields, strength: strengthField });
/** What every way of making a video takes. */
const settings = {
  model: z.string().max(500).optional().describe("the name of a model that /v1/models lists"),
  ...generationFields,
  extra_params: object.optional().describe("an object of any of the other settings of a generation, by their names here"),
  webhook: webhookField.optional(),
  user: z.string().max(1000).optional().describe("a text that says for whom; it is not kept"),
};

const pictureUrl = z.strictObject({ image_url: z.string() });
const picture = z.union([file, pictureUrl]).describe("a picture, as a file or { image_url } with a data: address");
const video = z.union([file, z.strictObject({ id: z.string() })]).describe("a video, as a file or { id } of a finished job");

export const createFields = z
  .strictObject({
    prompt: promptField,
    input_reference: picture.optional(),
    image_reference: json(pictureUrl).optional().describe("a picture, as { image_url } with a data: address"),
    video_reference: json(z.strictObject({ video_url: z.string() }))
      .optional()
      .describe("a video that is made anew by the prompt, as { video_url } with a data: address"),
    ...settings,
  })
  .meta({ id: "CreateVideo" });
export const editFields = z.strictObject({ prompt: promptField, video, strength: strengthField, ...settings }).meta({ id: "EditVideo" });
export const extendFields = z.strictObject({ prompt: promptField, video, ...settings }).meta({ id: "ExtendVideo" });
export const remixFields = z
  .strictObject({ prompt: promptField, seed: settings.seed, webhook: settings.webhook })
  .meta({ id: "RemixVideo" });

export const listQuery = z.strictObject({
  after: z.string().max(100).optional().describe("the id of the last video of the page before"),
  limit: z.coerce.number().int().min(1).max(100).default(20).describe("a whole number from 1 to 100"),
  order: z.enum(["asc", "desc"]).default("desc").describe("asc or desc, by when they were made"),
});
export const contentQuery = z.strictObject({
  variant: z.enum(["video", "thumbnail", "spritesheet"]).default("video").describe("video, thumbnail or spritesheet"),
});

export type SettingFields = Omit<z.output<typeof editFields>, "prompt" | "video">;

/** What clients are told of a job. */
export const videoShape = z
  .object({
    id: z.string(),
    object: z.literal("video"),
    model: z.string(),
    status: z.enum(["queued", "in_progress", "completed", "failed"]),
    progress: z.number().describe("per cent"),
    prompt: z.string(),
    seconds: z.string(),
    size: z.string(),
    created_at: z.number().describe("seconds since 1970, as all times are"),
    completed_at: z.number().nullable(),
    expires_at: z.number().nullable(),
    remixed_from_video_id: z.string().nullable(),
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
    started_at: z.number().nullable(),
    num_frames: z.number().nullable(),
    fps: z.number().nullable(),
    seed: z.number(),
    step: z.number().describe("denoising steps that are done"),
    steps: z.number().describe("denoising steps in all; 0 before a worker has begun"),
    seconds_left: z.number().nullable(),
    queue_position: z.number().nullable().describe("how many jobs wait before this one"),
    waits_for: z.string().nullable().describe("of one that waits, what for: a worker that is free, or has the model, or enough memory"),
  })
  .meta({ id: "Video" });
export type VideoAnswer = z.output<typeof videoShape>;

export const listShape = z
  .object({
    object: z.literal("list"),
    data: z.array(videoShape),
    has_more: z.boolean(),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
  })
  .meta({ id: "VideoList" });
export const deletedShape = z
  .object({ id: z.string(), object: z.literal("video.deleted"), deleted: z.boolean() })
  .meta({ id: "VideoDeleted" });
export const modelsShape = z
  .object({
    object: z.literal("list"),
    data: z.array(
      z.object({ id: z.string(), object: z.literal("model"), created: z.number(), owned_by: z.string(), adapters: z.array(z.string()) }),
    ),
  })
  .meta({ id: "ModelList" });
export const errorShape = z
  .object({ error: z.object({ message: z.string(), type: z.string(), param: z.string().nullable(), code: z.string() }) })
  .meta({ id: "Error" });

/** What a field must be, in words. */
function ruleOf(shape: z.ZodObject, name: string): string {
  const field = shape.shape[name] as z.ZodType | undefined;
  return (
    field?.description ?? (field instanceof z.ZodOptional ? (field.unwrap() as z.ZodType).description : undefined) ?? "of another kind"
  );
}

const brief = (value: unknown): string => (value instanceof Uint8Array ? "a file" : (JSON.stringify(value)?.slice(0, 80) ?? "nothing"));

/** The fields, checked and of their types. Throws an `ApiError` that names the first one that is wrong. */
export function checked<T extends z.ZodObject>(shape: T, given: Readonly<Record<string, unknown>>): z.output<T> {
  const result = shape.safeParse(given);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  if (issue?.code === "unrecognized_keys") {
    const [name = ""] = issue.keys;
    const names = Object.keys(shape.shape);
    const near = nearestName(name, names);
    throw new ApiError(
      400,
      "unknown_parameter",
      `fields must be among ${names.join(", ")}, got ${brief(name)}; ${near ? `did you mean ${near}?` : "leave it out"}`,
      { param: name.slice(0, 100) },
    );
  }
  const name = String(issue?.path[0] ?? "");
  throw invalid(`${name} must be ${ruleOf(shape, name)}, got ${brief(given[name])}`, name);
}
