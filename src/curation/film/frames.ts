/** Pictures of a film or a moving picture as small planes of luma and chroma, one after another. */
import { VideoSampleSink, type VideoSample } from "mediabunny";
import { refuseMistaken } from "../../video/read/mistaken.ts";
import { layoutOf } from "../../video/read/planes.ts";
import type { RgbaFrame } from "../../video/frame.ts";
import type { OpenFilm } from "./open.ts";
import type { FullPicture } from "./shrink.ts";
import { type Luma, SmallFrame, smallSize } from "./small-frame.ts";

/** A decoded picture, made small; its planes are written over by the next one. */
export interface ShownFrame {
  /** Seconds from the first picture that is shown. */
  readonly seconds: number;
  readonly duration: number;
  readonly small: SmallFrame;
  /** Full-size luma, where what is measured wants it. */
  luma(): Luma;
  /** All of it at full size. */
  full(): FullPicture;
}

/** Every picture from the first that is shown; those that an edit list hides (before time 0) are decoded and left out. */
export async function* shownFrames(film: OpenFilm, progress: () => void): AsyncGenerator<ShownFrame, void, undefined> {
  let first: number | undefined;
  let reader: SampleReader | undefined;
  for await (const sample of new VideoSampleSink(film.track).samples()) {
    using held = sample;
    progress();
    if (held.timestamp < -1e-6) continue;
    refuseMistaken(film, held, film.name, "scan");
    first ??= held.timestamp;
    const { width, height } = held.visibleRect;
    if (reader?.width !== width || reader.height !== height) reader = new SampleReader(width, height, film.fullRange);
    await reader.read(held);
    yield {
      seconds: held.timestamp - first,
      duration: held.duration,
      small: reader.small,
      luma: () => reader!.luma,
      full: () => reader!.full,
    };
  }
}

/** A picture that is there as RGBA. */
export class RgbaReader {
  readonly small: SmallFrame;
  readonly luma: Luma;
  readonly #rows: Uint8Array;

  constructor(readonly size: { readonly width: number; readonly height: number }) {
    this.small = new SmallFrame(smallSize(size.width, size.height));
    this.#rows = new Uint8Array(size.width * size.height);
    this.luma = { data: this.#rows, offset: 0, stride: size.width, ...size, shift: 0 };
  }

  read({ data }: RgbaFrame): void {
    const rows = this.#rows;
    for (let i = 0, at = 0; i < rows.length; i++, at += 4)
      rows[i] = 16 + (0.2568 * data[at]! + 0.5041 * data[at + 1]! + 0.0979 * data[at + 2]!) + 0.5;
    this.small.takeRgba(data, this.size.width);
  }
}

class SampleReader {
  readonly small: SmallFrame;
  luma: Luma;
  full: FullPicture;
  #bytes = new Uint8Array(0);

  constructor(
    readonly width: number,
    readonly height: number,
    private readonly fullRange: boolean,
  ) {
    this.small = new SmallFrame(smallSize(width, height));
    this.luma = { data: this.#bytes, offset: 0, stride: width, width, height, shift: 0 };
    this.full = { kind: "rgba", data: this.#bytes, width, height };
  }

  async read(sample: VideoSample): Promise<void> {
    const { width, height } = this;
    const layout = layoutOf(sample.format);
    if (!layout) {
      const picture = new RgbaReader({ width, height });
      const data = new Uint8Array(sample.allocationSize({ format: "RGBA" }));
      await sample.copyTo(data, { format: "RGBA" });
      picture.read({ width, height, data });
      this.small.set(picture.small);
      this.luma = picture.luma;
      this.full = { kind: "rgba", data, width, height };
      return;
    }
    const size = sample.allocationSize();
    if (this.#bytes.length !== size) this.#bytes = new Uint8Array(size);
    const planes = await sample.copyTo(this.#bytes);
    const data = layout.depth > 8 ? new Uint16Array(this.#bytes.buffer) : this.#bytes;
    const [y] = planes as [{ offset: number; stride: number }];
    const per = data.BYTES_PER_ELEMENT;
    const shift = layout.depth - 8;
    this.luma = { data, offset: y.offset / per, stride: y.stride / per, width, height, shift };
    const [cb, cr] = layout.chroma.map(([plane, step, first]) => {
      const { offset, stride } = planes[plane] as { offset: number; stride: number };
      return { data, offset: offset / per + first, stride: stride / per, step };
    });
    const { across, down } = layout;
    this.full = { kind: "planes", y: this.luma, cb: cb!, cr: cr!, across, down };
    this.small.takePlanes(this.luma, cb!, cr!, across, down, sample.colorSpace.fullRange ?? this.fullRange);
  }
}
