/** Pictures that draw.py drew, with what Pillow reads in them. */
import { inflateSync } from "node:zlib";
import { DEFAULT_LIMITS } from "../../../src/video/read/limits.ts";
import { readMedia } from "../../../src/video/read/read.ts";
import type { ReadContext, ReadFrame } from "../../../src/video/read/reader.ts";

export interface Drawn {
  name: string;
  /** Base64. */
  file: string;
  width: number;
  height: number;
  /** RGB of each, deflated, in base64. */
  frames: string[];
  /** For how long each is shown; null where that is not compared. */
  seconds: number[] | null;
}

/** All frames of a file, with what was said of it; not in a process of their own. */
export async function readAll(bytes: Uint8Array, options: Partial<ReadContext> = {}): Promise<{ frames: ReadFrame[]; warnings: string[] }> {
  const frames: ReadFrame[] = [];
  const warnings: string[] = [];
  for await (const frame of readMedia(bytes, {
    name: "a file",
    maxFrames: Infinity,
    limits: DEFAULT_LIMITS,
    warn: (text) => void warnings.push(text),
    progress: () => {},
    ...options,
  }))
    frames.push(frame);
  return { frames, warnings };
}

export const bytesOf = ({ file }: Drawn): Uint8Array => new Uint8Array(Buffer.from(file, "base64"));

/** RGB of each frame. */
export const pixelsOf = ({ frames }: Drawn): Uint8Array[] => frames.map((frame) => inflateSync(Buffer.from(frame, "base64")));

/** Reads it, and says where the first difference is; `undefined` where there is none. */
export async function difference(drawn: Drawn): Promise<string | undefined> {
  const { frames, warnings } = await readAll(bytesOf(drawn));
  if (warnings.length) return `a warning: ${warnings[0]}`;
  if (frames.length !== drawn.frames.length) return `${frames.length} frames, Pillow ${drawn.frames.length}`;
  const wanted = pixelsOf(drawn);
  for (const [index, { width, height, data, duration }] of frames.entries()) {
    const where = `frame ${index} of ${frames.length}`;
    if (width !== drawn.width || height !== drawn.height) return `${where} has ${width}×${height}, Pillow ${drawn.width}×${drawn.height}`;
    if (drawn.seconds && Math.abs(duration! - drawn.seconds[index]!) > 1e-9)
      return `${where} is shown for ${duration} s, not ${drawn.seconds[index]}`;
    const want = wanted[index]!;
    for (let pixel = 0; pixel < width * height; pixel++) {
      const [got, right] = [[...data.subarray(4 * pixel, 4 * pixel + 3)], [...want.subarray(3 * pixel, 3 * pixel + 3)]];
      if (got.some((value, channel) => value !== right[channel]))
        return `${where} at (${pixel % width}, ${Math.floor(pixel / width)}): ${got}, Pillow ${right}`;
    }
  }
  return undefined;
}
