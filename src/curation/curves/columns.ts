/**
 * What is kept of every frame, so that cuts and measures never decode again: a row of numbers a frame, by column. In a file it is one line
 * of JSON that says what follows, then each column's values one after another, little-endian.
 */
import { CogwheelError } from "../../base/errors.ts";
import { hex } from "../../base/hex.ts";
import { parseJsonObject } from "../../base/json-scan.ts";

/** Columns, in their order in the file. Differences are to the frame before; NaN where there is none, or it was not measured there. */
export const CURVES = [
  /** Mean difference of hue (on its circle, of 180), saturation and value (of 255) to the frame before. */
  "hue",
  "saturation",
  "value",
  /** Mean of the three to the frame 4 before, at every 4th; to the one 8 before, at every 8th. */
  "content4",
  "content8",
  /** Correlation of luma's histograms. */
  "histogram",
  /** Of luma, 0 … 255: mean, variance, mean absolute difference to the frame before. */
  "mean",
  "variance",
  "change",
  /** Shares of pixels that are all but black, or all but white. */
  "dark",
  "bright",
  /** Variance of the Laplacian of full-size luma, some times a second. */
  "sharpness",
  /** Share of the picture in black bars at its edges, some times a second. */
  "bars",
  /** Mean length of motion since the frame that was measured before, in widths a second; of it the camera's, and what is left of it. */
  "motion",
  "camera",
  "local",
  /** Share of blocks that move against the camera. */
  "moving",
] as const;
/** A column of curves. */
export type CurveName = (typeof CURVES)[number];

/**
 * What was read of a film's frames in one pass: times, key frames, perceptual hashes, and a number a frame in each column of
 * {@link CURVES}. Changes of shot, clips and measures follow from it, without decoding again.
 */
export class Curves {
  readonly columns: Readonly<Record<CurveName, Float32Array>>;
  constructor(
    /** Seconds of each frame from the first. */
    readonly seconds: Float64Array,
    /** 1 where the frame is a key frame that decoding may begin at. */
    readonly keys: Uint8Array,
    /** 1 where packets up to here, in decoding order, are just the frames before this one. */
    readonly breaks: Uint8Array,
    /** Perceptual hashes, 8 bytes each. */
    readonly hashes: Uint8Array,
    /** Mean luma of 8 × 8 parts of the picture, 64 bytes each. */
    readonly thumbs: Uint8Array,
    columns: Readonly<Record<CurveName, Float32Array>>,
    /** When the last frame ends. */
    readonly end: number,
  ) {
    this.columns = columns;
  }

  get frames(): number {
    return this.seconds.length;
  }

  /** How far two frames of the film are apart: mean difference of the luma (of 255) of 8 × 8 parts. */
  distance(a: number, b: number): number {
    const { thumbs } = this;
    let sum = 0;
    for (let i = 0; i < 64; i++) sum += Math.abs(thumbs[64 * a + i]! - thumbs[64 * b + i]!);
    return sum / 64;
  }

  /** Hex digits of a frame's perceptual hash. */
  hash(frame: number): string {
    return hex(this.hashes.subarray(8 * frame, 8 * frame + 8));
  }

  /** The first frame at or after a time. */
  frameAt(seconds: number): number {
    let [low, high] = [0, this.frames];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.seconds[middle]! < seconds - 1e-6) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** When a frame begins; of one past the last, when the last one ends. */
  timeOf(frame: number): number {
    return frame < this.frames ? this.seconds[frame]! : this.end;
  }
}

const FORMAT = "cogwheel curves 2";
/** Of a day of film, with a picture a second. */
const MOST_HEAD = 2 ** 21;
const LITTLE = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** A frame as a small JPEG, for people to look at. */
export interface CurvePicture {
  readonly frame: number;
  readonly jpeg: Uint8Array;
}

/**
 * Curves as the bytes of a file, little-endian.
 * @param pictures in order; they stand behind the columns
 */
export function encodeCurves(
  { seconds, keys, breaks, hashes, thumbs, columns, end }: Curves,
  pictures: readonly CurvePicture[] = [],
): Uint8Array<ArrayBuffer> {
  if (!LITTLE) throw new CogwheelError("curves", "curves are written on little-endian machines, got another; use one of those");
  const places = pictures.map(({ frame, jpeg }) => [frame, jpeg.length]);
  const head = JSON.stringify({ format: FORMAT, frames: seconds.length, end, columns: CURVES, pictures: places });
  // Values of 8 bytes begin at a multiple of 8.
  const line = new TextEncoder().encode(`${head.padEnd(8 * Math.ceil((head.length + 1) / 8) - 1)}\n`);
  const parts: (Float64Array | Float32Array | Uint8Array)[] = [
    line,
    seconds,
    ...CURVES.map((name) => columns[name]),
    hashes,
    thumbs,
    keys,
    breaks,
    ...pictures.map(({ jpeg }) => jpeg),
  ];
  const out = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    out.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at);
    at += part.byteLength;
  }
  return out;
}

interface Head {
  readonly frames: number;
  readonly end: number;
  readonly pictures: readonly (readonly [frame: number, bytes: number])[];
  /** Of the line, its end too. */
  readonly bytes: number;
}

function headOf(file: Uint8Array, fail: (rule: string) => CogwheelError): Head {
  const line = file.indexOf(10);
  if (line < 0 || line > MOST_HEAD) throw fail("must begin with a line that describes it, got none");
  const head = parseJsonObject(new TextDecoder().decode(file.subarray(0, line)), fail);
  if (head["format"] !== FORMAT || JSON.stringify(head["columns"]) !== JSON.stringify(CURVES)) throw fail(`must be ${FORMAT}, got another`);
  return { ...(head as unknown as Head), bytes: line + 1 };
}

/** Pictures of a file of curves, by frame. @param name what messages call the file */
export function decodePictures(file: Uint8Array, name: string): CurvePicture[] {
  const { pictures } = headOf(file, (rule) => new CogwheelError("curves", `${name} ${rule}; delete it, and it is made again`));
  let at = file.length - pictures.reduce((sum, [, bytes]) => sum + bytes, 0);
  return pictures.map(([frame, bytes]) => ({ frame, jpeg: file.slice(at, (at += bytes)) }));
}

/**
 * Curves out of the bytes that {@link encodeCurves} writes. Throws a `CogwheelError` for any others.
 * @param name what messages call the file
 */
export function decodeCurves(file: Uint8Array, name: string): Curves {
  const fail = (rule: string): CogwheelError => new CogwheelError("curves", `${name} ${rule}; delete it, and it is made again`);
  const { frames: count, end, pictures, bytes: from } = headOf(file, fail);
  const bytes = file.slice(from, file.length - pictures.reduce((sum, [, size]) => sum + size, 0));
  if (bytes.length !== count * (8 + 4 * CURVES.length + 8 + 64 + 2)) throw fail(`must hold ${count} frames, got ${bytes.length} bytes`);
  let at = 0;
  const take = (length: number): number => (at += length) - length;
  const seconds = new Float64Array(bytes.buffer, take(8 * count), count);
  const of = Object.fromEntries(CURVES.map((column) => [column, new Float32Array(bytes.buffer, take(4 * count), count)]));
  const hashes = bytes.subarray(take(8 * count), at);
  const thumbs = bytes.subarray(take(64 * count), at);
  const keys = bytes.subarray(take(count), at);
  return new Curves(seconds, keys, bytes.subarray(take(count), at), hashes, thumbs, of as Record<CurveName, Float32Array>, end);
}
