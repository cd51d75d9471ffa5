/** Bytes of any kind that is known → frames. What they are is told by how they begin, not by the name of the file. */
import type { ReadContext, Reader, ReadFrame } from "./reader.ts";

export async function* readMedia(bytes: Uint8Array, context: ReadContext): AsyncGenerator<ReadFrame, void, undefined> {
  yield* (await readerOf(bytes))(bytes, context);
}

/** Readers are chunks of their own, so that a picture does not wait for a film's demuxer. */
async function readerOf(bytes: Uint8Array): Promise<Reader> {
  const begins = (...values: number[]): boolean => values.every((value, index) => bytes[index] === value);
  if (begins(0x89, 0x50, 0x4e, 0x47)) return (await import("./png.ts")).readPng;
  if (begins(0x47, 0x49, 0x46, 0x38)) return (await import("./gif.ts")).readGif;
  return (await import("./film.ts")).readFilm;
}
