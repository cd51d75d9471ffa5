/** A file, or its bytes → frames. */
import { listFolder, readInput } from "#platform";
import { CogwheelError } from "../errors.ts";
import type { Frame } from "./frame.ts";
import { DEFAULT_LIMITS } from "./read/limits.ts";
import { readMedia } from "./read/read.ts";
import type { ReadFrame } from "./read/reader.ts";

export interface DecodeOptions {
  /** Stop after so many frames. */
  maxFrames?: number;
  signal?: AbortSignal;
  /** Told what a user should know of a file that was read all the same: frames that are missing, a picture that moves. */
  onWarning?: (message: string) => void;
}

export interface DecodedVideo {
  width: number;
  height: number;
  /** Frames a second, averaged; `undefined` for pictures. */
  fps: number | undefined;
  /** RGBA. */
  frames: Frame[];
}

/** Reads a video (MP4, WebM, MOV, MKV), a GIF, a PNG, or a folder of PNG (in the order of their names). */
export async function decodeVideo(source: string | Uint8Array, options: DecodeOptions = {}): Promise<DecodedVideo> {
  if (typeof source !== "string") return video(await decodeBytes(source, "the video", options), "the video");
  const names = (await listFolder(source))?.filter((name) => /\.png$/i.test(name));
  if (!names) return video(await decodeBytes(await readInput(source), source, options), source);
  if (names.length === 0) throw new CogwheelError("video", `a folder must hold .png files to be read as a video, got none in ${source}`);
  const frames: ReadFrame[] = [];
  for (const name of names.slice(0, options.maxFrames)) {
    options.signal?.throwIfAborted();
    const path = `${source}/${name}`;
    frames.push((await decodeBytes(await readInput(path), path, { ...options, maxFrames: 1 }))[0]!);
  }
  return { ...video(frames, source), fps: undefined };
}

async function decodeBytes(bytes: Uint8Array, name: string, { maxFrames = Infinity, signal, onWarning = () => {} }: DecodeOptions): Promise<ReadFrame[]> {
  const frames: ReadFrame[] = [];
  for await (const frame of readMedia(bytes, { name, maxFrames, limits: DEFAULT_LIMITS, warn: onWarning, progress: () => {} })) {
    signal?.throwIfAborted();
    frames.push(frame);
  }
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
