/** From a call's fields to what a job is to make. What the model cannot make is refused here, before anything is queued. */
import type { z } from "zod";
import { CogwheelError } from "../base/errors.ts";
import type { GenerationKind, Job, JobRequest } from "../jobs/job.ts";
import type { NewJob } from "../jobs/store.ts";
import { checkOffered, type ModelOffer } from "../pipelines/cogvideox/offer.ts";
import { defined, type GenerateOptions } from "../pipelines/options.ts";
import { whatIsWrong } from "../pipelines/options/check.ts";
import type { OptionName } from "../pipelines/options/table.ts";
import { latentFrames } from "../pipelines/settings.ts";
import { decodeVideo } from "../video/decode.ts";
import type { Frame } from "../video/frame.ts";
import type { Adapters } from "./adapters.ts";
import { bytesOfDataUrl } from "./body.ts";
import { ApiError, invalid } from "./errors.ts";
import { Slots } from "./slots.ts";
import { checked, type createFields, extraFields, type SettingFields } from "./fields.ts";

/** What is asked for; its input is named by whoever keeps it. */
export type AskedVideo = NewJob["request"];

/** The API's names of options. */
const OPTION_OF = {
  width: "width",
  height: "height",
  num_frames: "frames",
  fps: "fps",
  num_inference_steps: "steps",
  guidance_scale: "guidance",
  negative_prompt: "negative",
  seed: "seed",
  strength: "strength",
} as const satisfies Partial<Record<keyof SettingFields, OptionName>>;
type Numbers = { [K in keyof typeof OPTION_OF as (typeof OPTION_OF)[K]]?: K extends "negative_prompt" ? string : number };

type References = Pick<z.output<typeof createFields>, "input_reference" | "image_reference" | "video_reference">;

/** What a new video begins with: at most one of the fields for it. */
export function beginningOf(fields: References): { readonly kind: GenerationKind; readonly input?: Uint8Array<ArrayBuffer> } {
  const { input_reference: picture, image_reference: image, video_reference: video } = fields;
  const given = (["input_reference", "image_reference", "video_reference"] as const).filter((name) => fields[name] !== undefined);
  if (given.length > 1) throw invalid(`a video must begin with one thing at most, got ${given.join(" and ")}; leave one out`, given[1]);
  if (video) return { kind: "video", input: bytesOfDataUrl(video.video_url, "video_reference") };
  if (image) return { kind: "image", input: bytesOfDataUrl(image.image_url, "image_reference") };
  if (!picture) return { kind: "text" };
  return { kind: "image", input: picture instanceof Uint8Array ? picture : bytesOfDataUrl(picture.image_url, "input_reference") };
}

/** Seconds that the reading of an input may take. */
const DECODE_MS = 60_000;

/** What can be made. */
export interface Offered {
  readonly offer: ModelOffer;
  readonly adapters: Adapters;
}

/**
 * What the fields ask of this model.
 * @param input the picture or the video as it was uploaded
 */
export async function askedOf(
  { offer, adapters }: Offered,
  kind: GenerationKind,
  prompt: string,
  fields: SettingFields,
  input?: Uint8Array<ArrayBuffer>,
): Promise<AskedVideo> {
  const given = withExtra(fields);
  refuseUnknown(offer, given);
  const chosen = given.lora === undefined ? undefined : adapters.chosen(given.lora);
  const options = optionsOf(offer, given);
  const frames = input && (await framesOf(input, kind, options.frames ?? offer.defaults.frames));
  const begins: Pick<GenerateOptions, "image" | "video"> = frames
    ? kind === "video"
      ? { video: frames.slice(0, options.frames ?? offer.defaults.frames) }
      : { image: frames.at(-1)! }
    : {};
  const { settings } = offered(offer, { prompt, ...options, ...begins });
  const { strength, negative, steps, guidance } = options;
  return {
    kind,
    model: offer.name,
    prompt,
    width: settings.width,
    height: settings.height,
    frames: settings.frames,
    fps: settings.fps,
    ...defined({ seed: options.seed, strength, negativePrompt: negative, steps, guidance, adapters: chosen }),
  };
}

/**
 * Edits and extensions take size and rate of the video that they begin with, where it is one of ours and they say nothing else; edits its
 * length too.
 */
export function like(fields: SettingFields, from: Job | undefined, edit: boolean): SettingFields {
  const { width, height, fps, frames } = from?.request ?? {};
  const sized = fields.size !== undefined || fields.width !== undefined || fields.height !== undefined;
  const timed = fields.num_frames !== undefined || fields.seconds !== undefined;
  return {
    ...(sized || !width || !height ? {} : { width, height }),
    ...(timed || !frames || !edit ? {} : { num_frames: frames }),
    ...(fps ? { fps } : {}),
    ...fields,
  };
}

/** The same with another prompt, and the same noise unless another seed is asked for. */
export function remixOf(offer: ModelOffer, request: JobRequest, prompt: string, seed: number | undefined): AskedVideo {
  if (request.model !== offer.name) refuseUnknown(offer, { model: request.model });
  const { input: _, ...rest } = request;
  for (const [param, option, value] of [
    ["prompt", "prompt", prompt],
    ["seed", "seed", seed],
  ] as const) {
    const wrong = value === undefined ? undefined : whatIsWrong(option, value);
    if (wrong !== undefined) throw invalid(wrong, param);
  }
  return { ...rest, prompt, ...defined({ seed }) };
}

/** `extra_params` are other settings; one that stands in both places would be one of two values. */
function withExtra({ extra_params: extra = {}, ...fields }: SettingFields): SettingFields {
  const both = Object.keys(extra).find((name) => Object.hasOwn(fields, name));
  if (both !== undefined)
    throw invalid(`a setting must be given once, got ${both} and extra_params.${both}; leave one out`, "extra_params");
  return { ...fields, ...checked(extraFields, extra) };
}

function refuseUnknown(offer: ModelOffer, { model, flow_shift }: Pick<SettingFields, "model" | "flow_shift">): void {
  if (model !== undefined && model !== offer.name)
    throw new ApiError(400, "model_not_found", `model must be ${offer.name}, which is what this server has, got ${JSON.stringify(model)}`, {
      param: "model",
    });
  if (flow_shift !== undefined)
    throw invalid(`flow_shift must be left out: CogVideoX is no flow model, got ${flow_shift}; leave it out`, "flow_shift");
}

function optionsOf(offer: ModelOffer, fields: SettingFields): Numbers {
  const options: Record<string, number | string> = {};
  const [, width, height] = /^(\d+)x(\d+)$/.exec(fields.size ?? "") ?? [];
  if (width && height) Object.assign(options, { width: Number(width), height: Number(height) });
  for (const [name, option] of Object.entries(OPTION_OF)) {
    const value = fields[name as keyof typeof OPTION_OF];
    if (value === undefined) continue;
    const wrong = whatIsWrong(option, value);
    if (wrong !== undefined) throw invalid(`${wrong} (${name})`, name);
    options[option] = value;
  }
  if (fields.seconds !== undefined && options["frames"] === undefined) {
    const fps = (options["fps"] as number | undefined) ?? offer.defaults.fps;
    options["frames"] = nearestFrames(fields.seconds * fps, offer);
  }
  return options as Numbers;
}

/** The length nearest to so many frames, of those that the model makes. */
function nearestFrames(frames: number, { rules }: ModelOffer): number {
  if (!(frames >= 1) || frames > 1e6) throw invalid(`seconds must give from one to a million frames, got ${frames} frames`, "seconds");
  for (let away = 0; ; away++)
    for (const tried of [Math.round(frames) + away, Math.round(frames) - away])
      try {
        latentFrames(tried, rules.temporal);
        return tried;
      } catch {
        // one further
      }
}

/** The error of a pipeline's check as the API's. */
function offered(offer: ModelOffer, options: GenerateOptions): ReturnType<typeof checkOffered> {
  try {
    return checkOffered(offer, options);
  } catch (error) {
    if (error instanceof CogwheelError) throw invalid(error.message, paramIn(error.message));
    throw error;
  }
}

/** The field that an error of a pipeline is about. */
function paramIn(message: string): string | undefined {
  const [, side] = /got (height|width) /.exec(message) ?? [];
  if (side) return side;
  if (/frames, got/.test(message)) return "num_frames";
  return /the prompt/.test(message) ? "prompt" : undefined;
}

/** Inputs are read in processes of their own: two at a time, while some others wait. */
const readers = new Slots(2, 16);

/** Reads an input as a worker will, so that a broken one is refused now; the last picture of what an extension goes on from. */
async function framesOf(input: Uint8Array<ArrayBuffer>, kind: GenerationKind, most: number): Promise<readonly Frame[]> {
  const param = kind === "image" ? "input_reference" : "video";
  using _ = await readers.take();
  try {
    const limit = kind === "image" ? 1 : kind === "extension" ? undefined : most;
    const { frames } = await decodeVideo(input, { ...defined({ maxFrames: limit }), signal: AbortSignal.timeout(DECODE_MS) });
    if (frames.length === 0) throw invalid("an input must hold a picture, got none", param);
    return frames;
  } catch (error) {
    if (error instanceof CogwheelError) throw invalid(error.message, param);
    if (error instanceof DOMException)
      throw invalid(`an input must be read in ${DECODE_MS / 1000} s, got one that was not; send a smaller one`, param);
    throw error;
  }
}
