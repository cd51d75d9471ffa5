/** Where a browser reads untrusted media. */
import { CogwheelError } from "../../errors.ts";
import type { ReadFrame } from "../read/reader.ts";
import type { MediaRequest, MediaSource, ReadOptions } from "./types.ts";
import { readMedia } from "../read/read.ts";

export async function* readUntrusted(source: MediaSource, request: MediaRequest, { signal, onWarning = () => {} }: ReadOptions): AsyncGenerator<ReadFrame, void, undefined> {
  for await (const frame of readMedia((source as { bytes: Uint8Array }).bytes, { ...request, warn: onWarning, progress: () => {} })) {
    signal?.throwIfAborted();
    yield frame;
  }
}

export async function sourceAt(path: string): Promise<MediaSource> {
  throw new CogwheelError("video", `a browser has no file paths, got "${path}"; give decodeVideo the bytes of a file.`);
}
