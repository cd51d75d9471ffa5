/** A file, or its bytes → frames. What the bytes are is told by how they begin, not by the name of the file. */
import { installWebCodecs, listFolder, readInput } from "#platform";
import type { VideoSample } from "mediabunny";
import { CogwheelError } from "../errors.ts";
import { matrixFor, toRgba, type Plane } from "./color.ts";
import type { Frame } from "./frame.ts";

export interface DecodeOptions {
  /** Stop after so many frames. */
  maxFrames?: number;
  signal?: AbortSignal;
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
  if (typeof source !== "string") return decodeBytes(source, "the video", options);
  const names = (await listFolder(source))?.filter((name) => /\.png$/i.test(name));
  if (!names) return decodeBytes(await readInput(source), source, options);
  if (names.length === 0) throw new CogwheelError("video", `a folder must hold .png files to be read as a video, got none in ${source}`);
  const frames: Frame[] = [];
  for (const name of names.slice(0, options.maxFrames)) {
    options.signal?.throwIfAborted();
    frames.push(await decodePng(await readInput(`${source}/${name}`), `${source}/${name}`));
  }
  return video(frames, undefined, source);
}

async function decodeBytes(bytes: Uint8Array, name: string, options: DecodeOptions): Promise<DecodedVideo> {
  const begins = (...values: number[]): boolean => values.every((value, index) => bytes[index] === value);
  if (begins(0x89, 0x50, 0x4e, 0x47)) return video([await decodePng(bytes, name)], undefined, name);
  if (begins(0x47, 0x49, 0x46, 0x38)) return decodeGif(bytes, name, options);
  return decodeFilm(bytes, name, options);
}

function video(frames: Frame[], fps: number | undefined, name: string): DecodedVideo {
  const first = frames[0];
  if (!first) throw new CogwheelError("video", `${name} must have at least one frame, got none`);
  const { width, height } = first;
  const other = frames.find((frame) => frame.width !== width || frame.height !== height);
  if (other) throw new CogwheelError("video", `${name} must have frames of one size, got ${width}×${height} and ${other.width}×${other.height}`);
  return { width, height, fps, frames };
}

async function decodePng(bytes: Uint8Array, name: string): Promise<Frame> {
  const { convertIndexedToRgb, decode } = await import("fast-png");
  try {
    const image = decode(bytes);
    const { width, height } = image;
    const indexed = image.palette !== undefined;
    const values = indexed ? convertIndexedToRgb(image) : image.depth < 8 ? unpacked(image) : image.data;
    const channels = values.length / (width * height);
    const depth = indexed ? 8 : image.depth;
    if (!Number.isInteger(channels)) throw new Error(`${image.depth} bits a pixel`);
    const most = 2 ** depth - 1;
    const data = new Uint8Array(width * height * 4).fill(255);
    for (let pixel = 0; pixel < width * height; pixel++) {
      for (let channel = 0; channel < 3; channel++) {
        const value = values[pixel * channels + (channels < 3 ? 0 : channel)]!;
        data[4 * pixel + channel] = depth === 8 ? value : Math.round((255 * value) / most);
      }
    }
    return { width, height, data };
  } catch (error) {
    throw new CogwheelError("video", `${name} must be a whole PNG, got ${(error as Error).message}`, { cause: error });
  }
}

/** Grey of 1, 2 or 4 bits, several pixels a byte, the first in the highest bits; each row begins with a byte. */
function unpacked({ width, height, depth, data }: { width: number; height: number; depth: number; data: ArrayLike<number> }): Uint8Array {
  const stride = Math.ceil((width * depth) / 8);
  const out = new Uint8Array(width * height);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) out[to++] = (data[y * stride + ((x * depth) >> 3)]! >> (8 - depth - ((x * depth) & 7))) & (2 ** depth - 1);
  }
  return out;
}

async function decodeGif(bytes: Uint8Array, name: string, { maxFrames = Infinity, signal }: DecodeOptions): Promise<DecodedVideo> {
  const { decode, decodeFrames } = await import("modern-gif");
  try {
    const copy = Uint8Array.from(bytes);
    const gif = decode(copy);
    const last = Math.min(maxFrames, gif.frames.length) - 1;
    const pictures = decodeFrames(copy, { gif, range: [0, last] });
    signal?.throwIfAborted();
    const seconds = pictures.reduce((sum, { delay }) => sum + delay, 0) / 1000;
    return video(
      pictures.map(({ width, height, data }) => ({ width, height, data: new Uint8Array(data) })),
      seconds > 0 ? pictures.length / seconds : undefined,
      name,
    );
  } catch (error) {
    if (error instanceof CogwheelError || signal?.aborted) throw error;
    throw new CogwheelError("video", `${name} must be a whole GIF, got ${(error as Error).message}`, { cause: error });
  }
}

async function decodeFilm(bytes: Uint8Array, name: string, { maxFrames = Infinity, signal }: DecodeOptions): Promise<DecodedVideo> {
  await installWebCodecs();
  const { BufferSource, Input, MATROSKA, MP4, QTFF, VideoSampleSink, WEBM } = await import("./film-decoder.ts");
  try {
    using input = new Input({ source: new BufferSource(bytes), formats: [MP4, QTFF, MATROSKA, WEBM] });
    const track = await input.getPrimaryVideoTrack();
    if (!track) throw new CogwheelError("video", `${name} must have a video track, got none`);
    if (!(await track.canDecode())) throw new CogwheelError("video", `${name} must be in a codec that can be decoded here, got ${(await track.getCodecParameterString()) ?? "an unknown one"}; convert it to H.264`);
    const frames: Frame[] = [];
    for await (const sample of new VideoSampleSink(track).samples()) {
      using held = sample;
      signal?.throwIfAborted();
      frames.push(turned(await frameOf(held), held.rotation));
      if (frames.length >= maxFrames) break;
    }
    return video(frames, (await track.computePacketStats(100)).averagePacketRate, name);
  } catch (error) {
    if (error instanceof CogwheelError || signal?.aborted) throw error;
    throw new CogwheelError("video", `${name} must be a whole MP4, WebM, MOV, MKV, GIF or PNG, got ${(error as Error).message}`, { cause: error });
  }
}

/** Where the planes of a format lie among those that a copy gives, and how far its chroma is halved. */
const LAYOUTS: Record<string, { across: number; down: number; interleaved: boolean }> = {
  I420: { across: 2, down: 2, interleaved: false },
  I420A: { across: 2, down: 2, interleaved: false },
  I422: { across: 2, down: 1, interleaved: false },
  I444: { across: 1, down: 1, interleaved: false },
  NV12: { across: 2, down: 2, interleaved: true },
};

async function frameOf(sample: VideoSample): Promise<Frame> {
  const { width, height } = sample.visibleRect;
  const layout = LAYOUTS[sample.format ?? ""];
  if (!layout) {
    // RGB of some order, more than 8 bits, or a picture that only the browser can look into.
    const data = new Uint8Array(sample.allocationSize({ format: "RGBA" }));
    await sample.copyTo(data, { format: "RGBA" });
    return { width, height, data };
  }
  const data = new Uint8Array(sample.allocationSize());
  const planes = await sample.copyTo(data);
  const plane = (index: number, step = 1, shift = 0): Plane => ({ offset: planes[index]!.offset + shift, stride: planes[index]!.stride, step });
  const [cb, cr] = layout.interleaved ? [plane(1, 2), plane(1, 2, 1)] : [plane(1), plane(2)];
  const { matrix, fullRange } = sample.colorSpace;
  const known = matrix === "bt709" ? "bt709" : matrix === "smpte170m" || matrix === "bt470bg" ? "smpte170m" : matrixFor(width, height);
  const { across, down } = layout;
  return { width, height, data: toRgba({ width, height, data, luma: plane(0), cb: cb!, cr: cr!, across, down, matrix: known, fullRange: fullRange ?? false }) };
}

/** Turned clockwise, as cameras that were held upright ask for. */
function turned({ width, height, data }: Frame, degrees: number): Frame {
  if (degrees === 0) return { width, height, data };
  const swap = degrees !== 180;
  const [columns, rows] = swap ? [height, width] : [width, height];
  const from = new Uint32Array(data.buffer, data.byteOffset, width * height);
  const to = new Uint32Array(width * height);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const [fromX, fromY] = degrees === 90 ? [y, height - 1 - x] : degrees === 180 ? [width - 1 - x, height - 1 - y] : [width - 1 - y, x];
      to[y * columns + x] = from[fromY * width + fromX]!;
    }
  }
  return { width: columns, height: rows, data: new Uint8Array(to.buffer) };
}
