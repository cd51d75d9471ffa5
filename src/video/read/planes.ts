/** What a decoded picture holds → RGBA: planes by our own arithmetic (yuv.ts), other formats by the codec's. */
import type { VideoSample } from "mediabunny";
import { CogwheelError } from "../../errors.ts";
import type { Frame } from "../frame.ts";
import { rgbaOf, type Plane, type ToRgba, type YuvFormat } from "./yuv.ts";

/** Formats of WebCodecs' registry whose planes are read here. */
interface Layout {
  across: 1 | 2;
  down: 1 | 2;
  depth: number;
  /** Where Cb and Cr lie, as planes and steps. */
  chroma: readonly [plane: number, step: number, shift: number][];
}

/** `undefined` for RGB, and for pictures that only the browser can look into. */
export function layoutOf(format: string | null): Layout | undefined {
  if (format === "NV12") return { across: 2, down: 2, depth: 8, chroma: [[1, 2, 0], [1, 2, 1]] };
  if (format === "NV21") return { across: 2, down: 2, depth: 8, chroma: [[1, 2, 1], [1, 2, 0]] };
  const parts = /^I(420|422|444)A?(?:P(10|12))?$/.exec(format ?? "");
  if (!parts) return undefined;
  return { across: parts[1] === "444" ? 1 : 2, down: parts[1] === "420" ? 2 : 1, depth: Number(parts[2] ?? 8), chroma: [[1, 1, 0], [2, 1, 0]] };
}

/** What a film's pictures are, but for what each tells itself. */
export type FilmColors = Pick<YuvFormat, "matrix" | "fullRange"> & { grey: boolean };

/** Turns the pictures of a film into RGBA, keeping the tables of the format that it has. */
export class PictureReader {
  #key = "";
  #toRgba: ToRgba | undefined;

  /** `cut`: columns and rows more than the film has, which its decoder was made to give. */
  constructor(
    readonly colors: FilmColors,
    readonly cut: { columns: number; rows: number },
  ) {}

  sizeOf({ visibleRect: { width, height } }: VideoSample): { width: number; height: number } {
    return { width: width - this.cut.columns, height: height - this.cut.rows };
  }

  async read(sample: VideoSample): Promise<Frame> {
    const { width, height } = this.sizeOf(sample);
    const layout = layoutOf(sample.format);
    if (!layout) return readRgb(sample);
    const { across, down, depth, chroma } = layout;
    const { grey, ...colors } = this.colors;
    const rgb = colors.matrix === 0;
    // RGB is three planes of full size; a grey picture may come with chroma that says nothing.
    if (rgb && across !== 1) throw new CogwheelError("video", `RGB must come in planes of full size from the decoder, got ${sample.format}; convert the film to YCbCr (ffmpeg -pix_fmt yuv444p)`);
    const key = `${sample.format} ${width} ${height}`;
    if (key !== this.#key) {
      this.#toRgba = rgbaOf({ width, height, depth, across: grey ? 0 : across, down: grey ? 0 : down, ...colors });
      this.#key = key;
    }
    const bytes = new Uint8Array(sample.allocationSize());
    const layouts = await sample.copyTo(bytes);
    const data = depth > 8 ? new Uint16Array(bytes.buffer) : bytes;
    const plane = ([index, step, shift]: readonly [number, number, number]): Plane => {
      const { offset, stride } = layouts[index]!;
      return { data, offset: offset / data.BYTES_PER_ELEMENT + shift, stride: stride / data.BYTES_PER_ELEMENT, step };
    };
    return { width, height, data: this.#toRgba!([plane([0, 1, 0]), ...chroma.map(plane)]) };
  }
}

async function readRgb(sample: VideoSample): Promise<Frame> {
  const { width, height } = sample.visibleRect;
  const data = new Uint8Array(sample.allocationSize({ format: "RGBA" }));
  const [layout] = await sample.copyTo(data, { format: "RGBA" });
  const stride = layout?.stride ?? 4 * width;
  if (stride === 4 * width) return { width, height, data: data.subarray(0, 4 * width * height) };
  const tight = new Uint8Array(4 * width * height);
  for (let y = 0; y < height; y++) tight.set(data.subarray(y * stride, y * stride + 4 * width), 4 * y * width);
  return { width, height, data: tight };
}

/** A part of a picture (RGBA), as far as it lies within it. */
export function cropped({ width, height, data }: Frame, part: { left: number; top: number; width: number; height: number }): Frame {
  const [left, top] = [Math.max(0, part.left), Math.max(0, part.top)];
  const [right, bottom] = [Math.min(width, part.left + part.width), Math.min(height, part.top + part.height)];
  if (right <= left || bottom <= top || (right - left === width && bottom - top === height)) return { width, height, data };
  const out = new Uint8Array(4 * (right - left) * (bottom - top));
  for (let y = top; y < bottom; y++) out.set(data.subarray(4 * (y * width + left), 4 * (y * width + right)), 4 * (y - top) * (right - left));
  return { width: right - left, height: bottom - top, data: out };
}
