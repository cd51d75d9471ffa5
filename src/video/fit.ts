/**
 * Frames → what a VAE takes: a given size, −1…1. The resampling is Pillow's Lanczos bit for bit, because the reference resizes
 * with it (VaeImageProcessor, VideoProcessor): separable, each pass with 22-bit fixed-point weights and rounded to bytes.
 * After `ImagingResample` in Pillow's Resample.c; the boxes are those of `ImageOps.fit` and `ImageOps.pad`. Of Pillow 13: which
 * pass comes first is decided as there (`#downFirst`), where earlier versions always take the horizontal one.
 */
import { CogwheelError } from "../base/errors.ts";
import { channelsOf, type Frame } from "./frame.ts";

/**
 * How a picture of another shape comes to a size. `crop` (the default) takes the largest centred part that has the wanted
 * aspect; `stretch` takes the whole and changes the aspect, as diffusers does; `pad` shows the whole between black bars.
 */
export type Fit = "crop" | "stretch" | "pad";

export interface FitTo {
  width: number;
  height: number;
  fit?: Fit;
}

/** A part of a picture, in pixels; its edges may lie between pixels. */
interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** More cannot be held as one array of floats. */
const MAX_VALUES = 2 ** 31;

/**
 * Frames of one size → [1, 3, T, H, W] in −1…1. Values are the file's own, taken as sRGB; alpha is dropped, as by PIL's
 * `convert("RGB")`. Frames that have the size already are not resampled.
 */
export function fitFrames(frames: readonly Frame[], to: FitTo): Float32Array<ArrayBuffer> {
  const { width, height } = checkSize(to);
  const first = frames[0];
  if (!first) throw new CogwheelError("video", "a video must have at least one frame, got none");
  const plane = width * height;
  if (3 * plane * frames.length > MAX_VALUES)
    throw new CogwheelError(
      "video",
      `a video may have ${MAX_VALUES} values in all, got 3 × ${frames.length} × ${height} × ${width}; ` +
        "choose a smaller size or fewer frames",
    );
  const fitter = new Fitter(first, to);
  const out = new Float32Array(3 * frames.length * plane);
  for (const [t, frame] of frames.entries()) {
    if (frame.width !== first.width || frame.height !== first.height) {
      throw new CogwheelError(
        "video",
        `all frames must have one size, got ${first.width}×${first.height} and then ${frame.width}×${frame.height}`,
      );
    }
    const rgb = fitter.bytes(frame);
    for (let c = 0; c < 3; c++) {
      const at = (c * frames.length + t) * plane;
      for (let i = 0; i < plane; i++) out[at + i] = NORMALISED[rgb[3 * i + c]!]!;
    }
  }
  return out;
}

/** One frame at the size, as RGB. */
export function fitFrame(frame: Frame, to: FitTo): Frame {
  const { width, height } = checkSize(to);
  return { width, height, data: new Fitter(frame, to).bytes(frame) };
}

/** 2 · (v / 255) − 1, rounded to f32 after every operation as the reference's is. */
const NORMALISED = Float32Array.from({ length: 256 }, (_, v) => 2 * Math.fround(v / 255) - 1);

function checkSize({ width, height, fit = "crop" }: FitTo): { width: number; height: number } {
  for (const [name, value] of [
    ["width", width],
    ["height", height],
  ] as const) {
    if (!Number.isInteger(value) || value < 1 || value > 65536)
      throw new CogwheelError("video", `${name} must be a whole number from 1 to 65536, got ${value}`);
  }
  if (fit !== "crop" && fit !== "stretch" && fit !== "pad")
    throw new CogwheelError("video", `fit must be crop, stretch or pad, got ${JSON.stringify(fit)}`);
  return { width, height };
}

/** The weights for one source size, made once for all frames. */
class Fitter {
  /** Where the picture comes to lie, and how large: all of the output but for bars. */
  readonly #to: { x: number; y: number; width: number; height: number };
  readonly #across: Weights | undefined;
  readonly #down: Weights | undefined;
  /** Fewer rows first, where far more of them than of the columns are lost (Pillow 13; found by trial, 5,959 sizes of 5,959). */
  readonly #downFirst: boolean;
  readonly #width: number;
  readonly #height: number;

  constructor(from: { width: number; height: number }, { width, height, fit = "crop" }: FitTo) {
    this.#width = width;
    this.#height = height;
    const inner = fit === "pad" ? contained(from, width, height) : { width, height };
    this.#to = { ...inner, x: halfEven((width - inner.width) * 0.5), y: halfEven((height - inner.height) * 0.5) };
    const box = fit === "crop" ? cropBox(from, width, height) : { left: 0, top: 0, right: from.width, bottom: from.height };
    this.#across =
      from.width === inner.width && box.left === 0 && box.right === from.width
        ? undefined
        : weights(from.width, box.left, box.right, inner.width);
    this.#down =
      from.height === inner.height && box.top === 0 && box.bottom === from.height
        ? undefined
        : weights(from.height, box.top, box.bottom, inner.height);
    this.#downFirst = inner.height < from.height && from.height - inner.height > 2 * (from.width - inner.width);
  }

  /** RGB, row by row. */
  bytes(frame: Frame): Uint8Array<ArrayBuffer> {
    const { x, y, width, height } = this.#to;
    const picture = this.#resample(frame);
    if (width === this.#width && height === this.#height) return picture;
    const out = new Uint8Array(3 * this.#width * this.#height);
    for (let row = 0; row < height; row++)
      out.set(picture.subarray(3 * row * width, 3 * (row + 1) * width), 3 * ((row + y) * this.#width + x));
    return out;
  }

  #resample(frame: Frame): Uint8Array<ArrayBuffer> {
    const { width, height } = this.#to;
    const channels = channelsOf(frame);
    const [across, down] = [this.#across, this.#down];
    if (down && this.#downFirst)
      return resampleRows(
        resampleColumns(frame.data, channels * frame.width, height, 0, down),
        channels,
        frame.width,
        0,
        height,
        width,
        across,
      );
    // Rows that no output row needs are not resampled.
    const [first, last] = down ? reach(down) : [0, frame.height];
    const rows = resampleRows(frame.data, channels, frame.width, first, last, width, across);
    return down ? resampleColumns(rows, 3 * width, height, first, down) : rows;
  }
}

/** The largest centred part of the wanted aspect (`ImageOps.fit`, with its order of operations). */
function cropBox(from: { width: number; height: number }, width: number, height: number): Box {
  const have = from.width / from.height;
  const want = width / height;
  const across = have > want ? want * from.height : from.width;
  const down = have < want ? from.width / want : from.height;
  const left = (from.width - across) * 0.5;
  const top = (from.height - down) * 0.5;
  return { left, top, right: left + across, bottom: top + down };
}

/** The largest size of the picture's own aspect in the wanted one (`ImageOps.contain`), at least one pixel. */
function contained(from: { width: number; height: number }, width: number, height: number): { width: number; height: number } {
  const have = from.width / from.height;
  const want = width / height;
  if (have > want) return { width, height: Math.max(1, halfEven((from.height / from.width) * width)) };
  if (have < want) return { width: Math.max(1, halfEven((from.width / from.height) * height)), height };
  return { width, height };
}

/** Python's round: halves go to the even neighbour. */
function halfEven(value: number): number {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2) : Math.round(value);
}

/** For each output pixel the first input pixel it takes, how many, and their weights (`size` apart), in 2⁻²². */
interface Weights {
  first: Int32Array;
  count: Int32Array;
  size: number;
  values: Int32Array;
}

const BITS = 22;

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}
const lanczos = (x: number): number => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0);

/** `precompute_coeffs` and `normalize_coeffs_8bpc`: the part `from`…`to` of `input` pixels as `output` pixels. */
function weights(input: number, from: number, to: number, output: number): Weights {
  // The box is held in f32 there.
  const start = Math.fround(from);
  const scale = Math.fround(Math.fround(to) - start) / output;
  const widen = Math.max(1, scale);
  const support = 3 * widen;
  const size = 2 * Math.ceil(support) + 1;
  const result: Weights = { first: new Int32Array(output), count: new Int32Array(output), size, values: new Int32Array(output * size) };
  const taken = new Float64Array(size);
  for (let i = 0; i < output; i++) {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const count = Math.min(input, Math.trunc(centre + support + 0.5)) - first;
    let sum = 0;
    for (let k = 0; k < count; k++) {
      taken[k] = lanczos((k + first - centre + 0.5) * (1 / widen));
      sum += taken[k]!;
    }
    for (let k = 0; k < count; k++) {
      const exact = (sum === 0 ? taken[k]! : taken[k]! / sum) * 2 ** BITS;
      result.values[i * size + k] = Math.trunc(exact < 0 ? exact - 0.5 : exact + 0.5);
    }
    result.first[i] = first;
    result.count[i] = count;
  }
  return result;
}

/** The input pixels that are taken at all. */
function reach({ first, count }: Weights): [number, number] {
  const last = first.length - 1;
  return [first[0]!, first[last]! + count[last]!];
}

/** Rows `first`…`last` of a picture at another width, as RGB. Sums are whole numbers in 32 bits, as there; the array clamps. */
function resampleRows(
  data: Uint8Array | Uint8ClampedArray,
  channels: number,
  width: number,
  first: number,
  last: number,
  output: number,
  across: Weights | undefined,
): Uint8Array<ArrayBuffer> {
  const out = new Uint8ClampedArray(3 * output * (last - first));
  for (let row = first, to = 0; row < last; row++) {
    const begin = row * width * channels;
    for (let x = 0; x < output; x++, to += 3) {
      if (!across) {
        for (let c = 0; c < 3; c++) out[to + c] = data[begin + x * channels + c]!;
        continue;
      }
      const { values, size } = across;
      const count = across.count[x]!;
      let from = begin + across.first[x]! * channels;
      let [r, g, b] = [HALF, HALF, HALF];
      for (let k = x * size, end = k + count; k < end; k++, from += channels) {
        const weight = values[k]!;
        r = (r + Math.imul(data[from]!, weight)) | 0;
        g = (g + Math.imul(data[from + 1]!, weight)) | 0;
        b = (b + Math.imul(data[from + 2]!, weight)) | 0;
      }
      out[to] = r >> BITS;
      out[to + 1] = g >> BITS;
      out[to + 2] = b >> BITS;
    }
  }
  return new Uint8Array(out.buffer);
}

/** Rows of `stride` bytes, of which the first is row `skipped` of the picture, at another height. */
function resampleColumns(
  data: Uint8Array | Uint8ClampedArray,
  stride: number,
  output: number,
  skipped: number,
  down: Weights,
): Uint8Array<ArrayBuffer> {
  const out = new Uint8ClampedArray(stride * output);
  const sums = new Int32Array(stride);
  for (let y = 0; y < output; y++) {
    sums.fill(HALF);
    for (let k = 0; k < down.count[y]!; k++) {
      const weight = down.values[y * down.size + k]!;
      const from = (down.first[y]! - skipped + k) * stride;
      for (let i = 0; i < stride; i++) sums[i] = sums[i]! + Math.imul(data[from + i]!, weight);
    }
    for (let i = 0, to = y * stride; i < stride; i++) out[to + i] = sums[i]! >> BITS;
  }
  return new Uint8Array(out.buffer);
}

const HALF = 1 << (BITS - 1);
