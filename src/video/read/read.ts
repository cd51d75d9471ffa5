/** Bytes of any kind that is known → frames. */
import { CogwheelError } from "../../base/errors.ts";
import type { ReadContext, Reader, ReadFrame } from "./reader.ts";
import { sniff, type MediaKind } from "./sniff.ts";

/** Readers are chunks of their own, so that a picture does not wait for a film's demuxer. */
const READERS: Record<MediaKind, () => Promise<Reader>> = {
  film: async () => (await import("./film.ts")).readFilm,
  gif: async () => (await import("./gif.ts")).readGif,
  jpeg: async () => (await import("./jpeg.ts")).readJpeg,
  png: async () => (await import("./png.ts")).readPng,
  webp: async () => (await import("./webp.ts")).readWebp,
};

export async function* readMedia(bytes: Uint8Array, context: ReadContext): AsyncGenerator<ReadFrame, void, undefined> {
  const kind = sniff(bytes);
  if (typeof kind !== "string")
    throw new CogwheelError("video", `${context.name} must be a film or a picture that can be read here, got ${kind.name}; ${kind.remedy}`);
  for await (const frame of (await READERS[kind]())(bytes, context)) {
    for (let at = 3; at < frame.data.length; at += 4) frame.data[at] = 255; // alpha is dropped: a canvas would show what is behind it
    yield frame;
  }
}
