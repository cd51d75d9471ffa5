/** What a decoded picture holds → RGBA: planes by our own arithmetic (yuv.ts), other formats by the codec's. */
import type { VideoSample } from "mediabunny";
import { CogwheelError } from "../../base/errors.ts";
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
  if (format === "NV12")
    return {
      across: 2,
      down: 2,
      depth: 8,
      chroma: [
        [1, 2, 0],
        [1, 2, 1],
      ],
    };
  if (format === "NV21")
    return {
      across: 2,
      down: 2,
      depth: 8,
      chroma: [
        [1, 2, 1],
        [1, 2, 0],
      ],
    };
  const parts = /^I(420|422|444)A?(?:P(10|12))?$/.exec(format ?? "");
  if (!parts) return undefined;
  return {
    across: parts[1] === "444" ? 1 : 2,
    down: parts[1] === "420" ? 2 : 1,
    depth: Number(parts[2] ?? 8),
    chroma: [
      [1, 1, 0],
      [2, 1, 0],
    ],
  };
}

/** What a film's pictures are, but for what each tells itself. */
export type FilmColors = Pick<YuvFormat, "matrix" | "fullRange"> & { grey: boolean };

/** A part of a picture, in its pixels. */
export interface Area {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** Turns the pictures of a film into RGBA, keeping the tables of the format that it has. */
export class PictureReader {
  #key = "";
  #toRgba: ToRgba | undefined;

  /** `cut`: columns and rows more than the film has, which its decoder was made to give. `aperture`: the part that is shown. */
  constructor(
    readonly colors: FilmColors,
    readonly cut: { columns: number; rows: number },
    readonly aperture: Area | undefined,
  ) {}

  /** What is shown of a picture. */
  areaOf({ visibleRect }: VideoSample): Area {
    const [width, height] = [visibleRect.width - this.cut.columns, visibleRect.height - this.cut.rows];
    const whole = { left: 0, top: 0, width, height };
    if (!this.aperture) return whole;
    const [left, top] = [Math.max(0, this.aperture.left), Math.max(0, this.aperture.top)];
    const part = {
      left,
      top,
      width: Math.min(width, this.aperture.left + this.aperture.width) - left,
      height: Math.min(height, this.aperture.top + this.aperture.height) - top,
    };
    return part.width > 0 && part.height > 0 ? part : whole;
  }

  async read(sample: VideoSample): Promise<Frame> {
    const area = this.areaOf(sample);
    const { left, top, width, height } = area;
    const layout = layoutOf(sample.format);
    if (!layout) return readRgb(sample, area);
    const { across, down, depth, chroma } = layout;
    const { grey, ...colors } = this.colors;
    const rgb = colors.matrix === 0;
    // RGB is three planes of full size; a grey picture may come with chroma that says nothing.
    if (rgb && across !== 1)
      throw new CogwheelError(
        "video",
        `RGB must come in planes of full size from the decoder, got ${sample.format}; convert the film to YCbCr (ffmpeg -pix_fmt yuv444p)`,
      );
    const key = `${sample.format} ${width} ${height}`;
    if (key !== this.#key) {
      this.#toRgba = rgbaOf({ width, height, depth, across: grey ? 0 : across, down: grey ? 0 : down, ...colors });
      this.#key = key;
    }
    const bytes = new Uint8Array(sample.allocationSize());
    const layouts = await sample.copyTo(bytes);
    const data = depth > 8 ? new Uint16Array(bytes.buffer) : bytes;
    const plane = (x: number, y: number, index: number, step = 1, shift = 0): Plane => {
      const { offset, stride } = layouts[index]!;
      const row = stride / data.BYTES_PER_ELEMENT;
      return { data, offset: offset / data.BYTES_PER_ELEMENT + shift + y * row + x * step, stride: row, step };
    };
    return {
      width,
      height,
      data: this.#toRgba!([
        plane(left, top, 0),
        ...chroma.map((place) => plane(Math.floor(left / across), Math.floor(top / down), ...place)),
      ]),
    };
  }
}

async function readRgb(sample: VideoSample, { left, top, width, height }: Area): Promise<Frame> {
  const data = new Uint8Array(sample.allocationSize({ format: "RGBA" }));
  const [layout] = await sample.copyTo(data, { format: "RGBA" });
  const stride = layout?.stride ?? 4 * sample.visibleRect.width;
  const out = new Uint8Array(4 * width * height);
  for (let y = 0; y < height; y++) {
    const from = (top + y) * stride + 4 * left;
    out.set(data.subarray(from, from + 4 * width), 4 * y * width);
  }
  return { width, height, data: out };
}
