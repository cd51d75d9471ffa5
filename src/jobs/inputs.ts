/** What a job asks for, as a generation takes it: its picture or video is read, and a state that it goes on from. */
import { CogwheelError } from "../base/errors.ts";
import type { SavedRun } from "../pipelines/latents-file.ts";
import { defined, type GenerateOptions } from "../pipelines/options.ts";
import { takenUp } from "../pipelines/options/saved.ts";
import { decodeVideo } from "../video/decode.ts";
import type { Frame } from "../video/frame.ts";
import { keptAdapter } from "./adapters.ts";
import type { Blobs } from "./backend.ts";
import type { JobRequest } from "./job.ts";

/** The options of a generation, and frames that its video is to follow: an extension's result begins with what it extends. */
export interface AskedJob {
  readonly options: GenerateOptions;
  readonly before: readonly Frame[];
}

/** @param saved what was reached before, to go on from @param most frames that are read of a video, of a model's longest */
export async function askedOf(
  request: JobRequest,
  blobs: Blobs,
  saved: SavedRun | undefined,
  { signal, most }: { signal: AbortSignal; most: number },
): Promise<AskedJob> {
  const { kind, prompt, negativePrompt, width, height, frames, fps, steps, guidance, seed, strength } = request;
  const loras = request.adapters?.length
    ? await Promise.all(request.adapters.map(async (one) => ({ adapter: await keptAdapter(blobs, one), scale: one.scale })))
    : undefined;
  const own = defined({ loras, negative: negativePrompt, width, height, frames, fps, steps, guidance, seed });
  const resumed = saved?.state.task;
  const settings: GenerateOptions = saved
    ? { ...(resumed ? takenUp(saved.settings, resumed) : {}), ...own, prompt, start: saved.state }
    : { ...own, prompt };
  const withStrength = kind === "video" && strength !== undefined ? { ...settings, strength } : settings;
  if (kind === "text") return { options: settings, before: [] };
  // An extension's first frames are its input's; others bring on what they need.
  if (resumed && kind !== "extension") return { options: withStrength, before: [] };
  const read = await readInput(request, blobs, { signal, most });
  const [first, last] = [read.frames[0]!, read.frames.at(-1)!];
  switch (kind) {
    case "image":
      return { options: { ...settings, image: first }, before: [] };
    case "video":
      return { options: { ...withStrength, video: read.frames }, before: [] };
    case "extension": {
      const { width: w = first.width, height: h = first.height } = settings;
      const size = { width: w, height: h, ...defined({ fps: settings.fps ?? read.fps }) };
      return { options: { ...settings, ...size, ...(resumed ? {} : { image: last }) }, before: read.frames };
    }
    default:
      throw new CogwheelError("jobs", `kind must be text, image, video or extension, got ${JSON.stringify(kind satisfies never)}`);
  }
}

async function readInput(
  { kind, input }: JobRequest,
  blobs: Blobs,
  { signal, most }: { signal: AbortSignal; most: number },
): Promise<{ frames: readonly Frame[]; fps: number | undefined }> {
  const bytes = input === undefined ? undefined : await blobs.get(input);
  const what = kind === "image" ? "a picture" : "a video";
  if (!bytes) throw new CogwheelError("jobs", `a generation from ${what} must have one, got none; send it with the request`);
  return await decodeVideo(bytes, { signal, ...(kind === "image" ? { maxFrames: 1 } : kind === "video" ? { maxFrames: most } : {}) });
}
