/** One picture of a video, in memory. */
import { CogwheelError } from "../base/errors.ts";
import { arrayType } from "../base/finite.ts";

/** A picture's bytes, row by row from the top: RGB or RGBA. */
export interface Frame {
  width: number;
  height: number;
  /** sRGB bytes, row by row from the top left: RGB or RGBA, told apart by the length. Alpha is not kept. */
  data: Uint8Array | Uint8ClampedArray;
}

/** 8-bit RGBA, row by row from the top. */
export interface RgbaFrame {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

export type Frames = Iterable<Frame> | AsyncIterable<Frame>;

/** Bytes a pixel, 3 or 4; throws where the data are no bytes or do not fit the size. */
export function channelsOf({ width, height, data }: Frame): 3 | 4 {
  const type = arrayType(data);
  if (type !== "Uint8Array" && type !== "Uint8ClampedArray")
    throw new CogwheelError(
      "video",
      `a frame's data must be bytes, a Uint8Array or Uint8ClampedArray, got ${type}; scale its values to 0 … 255 and convert them`,
    );
  const channels = data.length / (width * height);
  if (channels === 3 || channels === 4) return channels;
  throw new CogwheelError(
    "video",
    `a frame of ${width}×${height} must have ${3 * width * height} bytes of RGB or ${4 * width * height} of RGBA, got ${data.length}`,
  );
}

/** The frame with the number of channels that is asked for; opaque where alpha is added. */
export function withChannels(frame: Frame, channels: 3 | 4): Uint8Array {
  const have = channelsOf(frame);
  const { data, width, height } = frame;
  if (have === channels) return new Uint8Array(data.buffer, data.byteOffset, data.length);
  const out = new Uint8Array(width * height * channels).fill(255);
  for (let pixel = 0, from = 0, to = 0; pixel < width * height; pixel++, from += have, to += channels) {
    out[to] = data[from]!;
    out[to + 1] = data[from + 1]!;
    out[to + 2] = data[from + 2]!;
  }
  return out;
}

/**
 * Passes the frames on; throws when one differs from the first in size, when there is none, or when `signal` aborts, and
 * tells `onProgress` of each that the consumer is done with.
 */
export async function* checkedFrames(
  frames: Frames,
  signal?: AbortSignal,
  onProgress?: (done: number) => void,
): AsyncGenerator<Frame, void, undefined> {
  let first: Frame | undefined;
  let count = 0;
  for await (const frame of frames) {
    signal?.throwIfAborted();
    channelsOf(frame);
    first ??= frame;
    if (frame.width !== first.width || frame.height !== first.height) {
      throw new CogwheelError(
        "video",
        `all frames must have one size, got ${first.width}×${first.height} and then ${frame.width}×${frame.height}`,
      );
    }
    yield frame;
    count++;
    onProgress?.(count);
  }
  signal?.throwIfAborted();
  if (count === 0) throw new CogwheelError("video", "a video must have at least one frame, got none");
}
