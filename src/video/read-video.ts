/** What `decodeVideo` does: loaded by its first call, for most pages never make one. */
import { listFolder } from "#platform";
import { readUntrusted, sourceAt } from "#sandbox";
import { CogwheelError } from "../errors.ts";
import type { DecodedVideo, DecodeLimits, DecodeOptions } from "./decode.ts";
import { DEFAULT_LIMITS, refuseBeyondFrames } from "./read/limits.ts";
import type { ReadFrame } from "./read/reader.ts";
import type { MediaSource } from "./sandbox/types.ts";

/** Beside what a file may ask for: 2 GiB for its reader, and 20 s without progress, which a damaged film makes hours of. */
const DEFAULTS: DecodeLimits = { ...DEFAULT_LIMITS, memory: 2 ** 31, seconds: 20 };

export async function readVideo(source: string | Uint8Array, options: DecodeOptions): Promise<DecodedVideo> {
  if (typeof source !== "string") return video(await read({ bytes: source }, "the video", options), "the video");
  const names = (await listFolder(source))?.filter((name) => /\.(png|jpe?g|webp)$/i.test(name));
  if (!names) return video(await read(await sourceAt(source, options.signal), source, options), source);
  if (names.length === 0) throw new CogwheelError("video", `a folder must hold .png, .jpg or .webp files to be read as a video, got none in ${source}`);
  const frames: ReadFrame[] = [];
  for (const name of names.slice(0, options.maxFrames)) {
    const path = `${source}/${name}`;
    frames.push(...(await read(await sourceAt(path, options.signal), path, { ...options, maxFrames: 1 })));
    if (frames.length === 1) refuseBeyondFrames({ name: source, limits: { ...DEFAULTS, ...options.limits }, maxFrames: Infinity }, frames[0]!.width, frames[0]!.height, Math.min(names.length, options.maxFrames ?? Infinity));
  }
  return { ...video(frames, source), fps: undefined };
}

/** No limit, as a number that a message can carry. */
const MOST = Number.MAX_SAFE_INTEGER;

async function read(source: MediaSource, name: string, { maxFrames = Infinity, limits: asked, ...options }: DecodeOptions): Promise<ReadFrame[]> {
  const limits = { ...DEFAULTS, ...asked };
  for (const [key, value] of Object.entries(limits)) {
    if (!(key in DEFAULTS) || !(value > 0)) throw new CogwheelError("video", `limits must be positive numbers for ${Object.keys(DEFAULTS).join(", ")}, got ${key} ${value}`);
    limits[key as keyof DecodeLimits] = Math.min(value, MOST);
  }
  if (!(maxFrames > 0)) throw new CogwheelError("video", `maxFrames must be a positive number, got ${maxFrames}`);
  const frames: ReadFrame[] = [];
  for await (const frame of readUntrusted(source, { name, maxFrames: Math.min(maxFrames, MOST), limits }, options)) frames.push(frame);
  return frames;
}

function video(frames: ReadFrame[], name: string): DecodedVideo {
  const first = frames[0];
  if (!first) throw new CogwheelError("video", `${name} must have at least one frame, got none`);
  const { width, height } = first;
  const other = frames.find((frame) => frame.width !== width || frame.height !== height);
  if (other) throw new CogwheelError("video", `${name} must have frames of one size, got ${width}×${height} and ${other.width}×${other.height}`);
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
