/** Pictures of a film or a moving picture as small planes of luma and chroma, one after another. */
import { VideoSampleSink } from "mediabunny";
import { refuseMistaken } from "../../video/read/mistaken.ts";
import { layoutOf } from "../../video/read/planes.ts";
import type { RgbaFrame } from "../../video/frame.ts";
import { openPixels, type Pixels } from "../pixels.ts";
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
  let reader: CopyReader | undefined;
  const pixels = await openPixels();
  // The codec copies in threads of its own: the next picture meanwhile, while this one is looked at.
  for await (const copy of oneAhead(copiesOf(film, progress))) {
    first ??= copy.timestamp;
    const { width, height } = copy;
    if (reader?.width !== width || reader.height !== height) reader = new CopyReader(pixels, width, height);
    reader.read(copy);
    yield {
      seconds: copy.timestamp - first,
      duration: copy.duration,
      small: reader.small,
      luma: () => reader!.luma,
      full: () => reader!.full,
    };
  }
}

/** What a source gives, the next one begun before this one is used. An error comes where it would without. */
async function* oneAhead<T>(source: AsyncGenerator<T, void, undefined>): AsyncGenerator<T, void, undefined> {
  try {
    let next = source.next();
    for (;;) {
      const { value, done } = await next;
      if (done) return;
      next = source.next();
      next.catch(() => {}); // it is awaited when this one was used, or nobody asks for it
      yield value;
    }
  } finally {
    await source.return();
  }
}

/** A picture's bytes as its format has them; `layout` is undefined where they are RGBA. */
interface SampleCopy {
  readonly timestamp: number;
  readonly duration: number;
  readonly width: number;
  readonly height: number;
  readonly layout: ReturnType<typeof layoutOf>;
  readonly fullRange: boolean;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly planes: readonly { readonly offset: number; readonly stride: number }[];
}

/** Copies of the pictures that are shown; each lasts until the one after the next is asked for. */
async function* copiesOf(film: OpenFilm, progress: () => void): AsyncGenerator<SampleCopy, void, undefined> {
  let [bytes, other] = [new Uint8Array(0), new Uint8Array(0)];
  for await (const sample of new VideoSampleSink(film.track).samples()) {
    using held = sample;
    progress();
    if (held.timestamp < -1e-6) continue;
    refuseMistaken(film, held, film.name, "scan");
    const layout = layoutOf(held.format);
    const options = layout ? {} : ({ format: "RGBA" } as const);
    const size = held.allocationSize(options);
    [bytes, other] = [other, bytes];
    if (bytes.length !== size) bytes = new Uint8Array(size);
    const planes = await held.copyTo(bytes, options);
    const { timestamp, duration } = held;
    const { width, height } = held.visibleRect;
    yield { timestamp, duration, width, height, layout, fullRange: held.colorSpace.fullRange ?? film.fullRange, bytes, planes };
  }
}

/** A picture that is there as RGBA. */
export class RgbaReader {
  readonly small: SmallFrame;
  readonly luma: Luma;
  readonly #rows: Uint8Array;

  constructor(
    readonly pixels: Pixels,
    readonly size: { readonly width: number; readonly height: number },
  ) {
    this.small = new SmallFrame(smallSize(size.width, size.height));
    this.#rows = new Uint8Array(size.width * size.height);
    this.luma = { data: this.#rows, offset: 0, stride: size.width, ...size, shift: 0 };
  }

  read({ data }: RgbaFrame): void {
    const rows = this.#rows;
    for (let i = 0, at = 0; i < rows.length; i++, at += 4)
      rows[i] = 16 + (0.2568 * data[at]! + 0.5041 * data[at + 1]! + 0.0979 * data[at + 2]!) + 0.5;
    this.small.takeRgba(this.pixels, data, this.size.width);
  }
}

class CopyReader {
  readonly small: SmallFrame;
  luma!: Luma;
  full!: FullPicture;

  constructor(
    readonly pixels: Pixels,
    readonly width: number,
    readonly height: number,
  ) {
    this.small = new SmallFrame(smallSize(width, height));
  }

  read({ layout, fullRange, bytes, planes }: SampleCopy): void {
    const { width, height } = this;
    if (!layout) {
      const picture = new RgbaReader(this.pixels, { width, height });
      picture.read({ width, height, data: bytes });
      this.small.set(picture.small);
      this.luma = picture.luma;
      this.full = { kind: "rgba", data: bytes, width, height };
      return;
    }
    const data = layout.depth > 8 ? new Uint16Array(bytes.buffer) : bytes;
    const [y] = planes as [{ offset: number; stride: number }];
    const per = data.BYTES_PER_ELEMENT;
    const shift = layout.depth - 8;
    this.luma = { data, offset: y.offset / per, stride: y.stride / per, width, height, shift };
    const [cb, cr] = layout.chroma.map(([plane, step, first]) => {
      const { offset, stride } = planes[plane]!;
      return { data, offset: offset / per + first, stride: stride / per, step };
    });
    const { across, down } = layout;
    this.full = { kind: "planes", y: this.luma, cb: cb!, cr: cr!, across, down };
    this.small.takePlanes(this.pixels, this.luma, cb!, cr!, across, down, fullRange);
  }
}
