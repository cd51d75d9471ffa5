/** The one pass over a film: every frame is decoded once, and what is kept of it are the curves. */
import { encodeJpeg } from "#jpeg";
import { CogwheelError } from "../../base/errors.ts";
import { openPixels } from "../pixels.ts";
import { type OpenFilm, type PacketTimes, refused } from "../film/open.ts";
import { RgbaReader, shownFrames } from "../film/frames.ts";
import type { ReadFrame } from "../../video/read/reader.ts";
import type { SmallFrame } from "../film/small-frame.ts";
import type { CurvePicture, Curves } from "./columns.ts";
import { CurveMeter } from "./meter.ts";

/** Rises when the same film gives other curves. */
export const CURVES_VERSION = 4;

/** Seconds from one picture that people look at to the next. */
const PICTURE_EVERY = 0.9;
const QUALITY = 70;

export interface ReadCurves {
  readonly curves: Curves;
  readonly pictures: readonly CurvePicture[];
}

/** Takes a picture now and then. */
class Pictures {
  readonly taken: CurvePicture[] = [];
  #next = 0;
  async look(frame: number, seconds: number, small: SmallFrame): Promise<void> {
    if (seconds < this.#next) return;
    this.#next = seconds + PICTURE_EVERY;
    this.taken.push({ frame, jpeg: await encodeJpeg(small.rgba(), QUALITY) });
  }
}

/** Share of the pictures that a file promises which must be there: a few may be lost, at its end or where it was edited. */
const WHOLE = 0.95;

export async function curvesOfFilm(film: OpenFilm, packets: PacketTimes, progress: () => void): Promise<ReadCurves> {
  const meter = new CurveMeter(await openPixels());
  const pictures = new Pictures();
  let failure: unknown;
  try {
    for await (const frame of shownFrames(film, progress)) {
      meter.add(frame);
      await pictures.look(meter.frames - 1, frame.seconds, frame.small);
    }
  } catch (error) {
    failure = error;
  }
  if (failure !== undefined && meter.frames === 0) throw refused(failure, film.name);
  const promised = packets.timestamps.filter((time) => time >= -1e-6).length;
  if (meter.frames < WHOLE * promised)
    throw new CogwheelError(
      "scan",
      `${film.name} must be whole, got ${meter.frames} pictures that can be decoded of ${promised}; ` +
        "download or copy it again, or save what there is (ffmpeg -i FILE -c:v libx264 -crf 12 film.mp4)",
    );
  const first = Math.min(...packets.timestamps.filter((time) => time >= -1e-6));
  const times = [...packets.timestamps].map((time) => time - first);
  return { curves: meter.finish({ times, keys: [...packets.keys].map((key) => key === 1) }), pictures: pictures.taken };
}

/** Of pictures that are read whole: a picture, or a GIF or WebP that moves. Every frame stands for itself. */
export async function curvesOfPictures(frames: AsyncIterable<ReadFrame>): Promise<ReadCurves> {
  const pixels = await openPixels();
  const meter = new CurveMeter(pixels);
  const pictures = new Pictures();
  let reader: RgbaReader | undefined;
  const times: number[] = [];
  for await (const { data, width, height, seconds = 0, duration = 0 } of frames) {
    if (reader?.size.width !== width || reader.size.height !== height) reader = new RgbaReader(pixels, { width, height });
    const { small, luma } = reader;
    reader.read({ width, height, data: new Uint8Array(data.buffer, data.byteOffset, data.length) });
    meter.add({ seconds, duration, small, luma: () => luma });
    await pictures.look(times.length, seconds, small);
    times.push(seconds);
  }
  return { curves: meter.finish({ times, keys: times.map(() => true) }), pictures: pictures.taken };
}
