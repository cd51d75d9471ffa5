/** What `decodeVideo` does: loaded by its first call, for most pages never make one. */
import { listFolder } from "#platform";
import { readUntrusted, sourceAt } from "#sandbox";
import { CogwheelError } from "../base/errors.ts";
import type { DecodedVideo, DecodeLimits, DecodeOptions } from "./decode-options.ts";
import { DEFAULT_LIMITS, refuseBeyondFrames } from "./read/limits.ts";
import type { ReadFrame } from "./read/reader.ts";
import type { MediaSource } from "./sandbox/types.ts";

/** Beside what a file may ask for: 2 GiB for its reader, and 20 s without progress, which a damaged film makes hours of. */
const DEFAULTS: DecodeLimits = { ...DEFAULT_LIMITS, memory: 2 ** 31, seconds: 20 };

export async function readVideo(
  source: string | Uint8Array | ArrayBuffer,
  { maxFrames = Infinity, limits: asked = {}, ...options }: DecodeOptions,
): Promise<DecodedVideo> {
  const limits = limitsOf(asked);
  if (maxFrames !== Infinity && !(Number.isInteger(maxFrames) && maxFrames > 0))
    throw new CogwheelError("video", `maxFrames must be a positive whole number, got ${maxFrames}; leave it out for all frames`);
  const read = async (source: MediaSource, name: string, most: number, left: DecodeLimits): Promise<ReadFrame[]> => {
    const frames: ReadFrame[] = [];
    for await (const frame of readUntrusted(source, { name, maxFrames: Math.min(most, MOST), limits: left }, options)) frames.push(frame);
    return frames;
  };
  if (typeof source !== "string") return video(await read({ bytes: bytesOf(source) }, "the video", maxFrames, limits), "the video");
  const names = (await listFolder(source))?.filter((name) => /\.(png|jpe?g|webp)$/i.test(name));
  if (!names) return video(await read(await sourceAt(source, options.signal), source, maxFrames, limits), source);
  if (names.length === 0)
    throw new CogwheelError(
      "video",
      `a folder must hold .png, .jpg or .webp files to be read as a video, got none in ${source}; name another folder, or a file`,
    );
  const wanted = names.slice(0, maxFrames);
  const frames: ReadFrame[] = [];
  let bytes = limits.bytes;
  for (const name of wanted) {
    const path = `${source}/${name}`;
    const [frame] = await read(await sourceAt(path, options.signal), path, 1, { ...limits, bytes });
    if (!frame) throw none(path);
    frames.push(frame);
    // Before the others are read: a folder is bounded as a film of its frames.
    if (frames.length === 1) refuseBeyondFrames({ name: source, limits, maxFrames: Infinity }, frame.width, frame.height, wanted.length);
    refuseOtherSize(source, frames[0]!, frame);
    bytes = Math.max(1, bytes - frame.data.length);
  }
  return { ...video(frames, source), fps: undefined };
}

/** No limit, as a number that a message can carry. */
const MOST = Number.MAX_SAFE_INTEGER;

/** Limits with their defaults; throws for what is none. */
export function limitsOf(asked: Partial<Record<string, number | undefined>>): DecodeLimits {
  const limits = { ...DEFAULTS };
  for (const [key, value] of Object.entries(asked)) {
    if (value === undefined && key in DEFAULTS) continue;
    if (!(key in DEFAULTS) || typeof value !== "number" || !(value > 0))
      throw new CogwheelError(
        "video",
        `limits must be positive numbers for ${Object.keys(DEFAULTS).join(", ")}, got ${key} ${value}; leave one out for its default`,
      );
    limits[key as keyof DecodeLimits] = Math.min(value, MOST);
  }
  return limits;
}

function bytesOf(source: unknown): Uint8Array {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  throw new CogwheelError(
    "video",
    "a video must be given as a path, a Uint8Array or an ArrayBuffer, " +
      `got ${Object.prototype.toString.call(source).slice(8, -1)}; give its bytes`,
  );
}

const none = (name: string): CogwheelError => new CogwheelError("video", `${name} must have at least one frame, got none; convert it`);

function refuseOtherSize(name: string, { width, height }: ReadFrame, other: ReadFrame): void {
  if (other.width === width && other.height === height) return;
  throw new CogwheelError(
    "video",
    `${name} must have frames of one size, got ${width}×${height} and ${other.width}×${other.height}; scale them to one`,
  );
}

function video(frames: ReadFrame[], name: string): DecodedVideo {
  const first = frames[0];
  if (!first) throw none(name);
  const { width, height } = first;
  for (const frame of frames) refuseOtherSize(name, first, frame);
  return { width, height, fps: rateOf(frames), frames: frames.map(({ data }) => ({ width, height, data })) };
}

/** Frames a second, averaged over those that were read. */
function rateOf(frames: readonly ReadFrame[]): number | undefined {
  const [first, last] = [frames[0]!, frames.at(-1)!];
  if (first.seconds === undefined || last.seconds === undefined) return undefined;
  const between = last.seconds - first.seconds;
  const seconds = between + (last.duration || between / (frames.length - 1));
  return seconds > 0 ? frames.length / seconds : undefined;
}
