/** Loading in a browser, in a worker: over HTTP, from a file that was picked, and from the browser's private file system. */
import { Gpu } from "../../src/gpu/gpu.ts";
import { httpSource } from "../../src/sources/http.ts";
import { filesSource } from "../../src/sources/picked.ts";
import { SyncReads } from "../../src/sources/sync-reads.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import { fillPattern, measureLoad, type Place } from "./measure.ts";

export interface LoadRequest {
  readonly url: string;
  readonly file: string;
  readonly bytes: number;
  readonly runs: number;
}

/** Its name in the browser's private file system, which goes with the browser. */
const STORED = "bench";

/** Of `FileSystemSyncAccessHandle`, which TypeScript's types for pages leave out. */
interface SyncHandle {
  write(data: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
}

async function measureInWorker({ url, file, bytes, runs }: LoadRequest): Promise<unknown> {
  await using gpu = await Gpu.open();
  await using http = httpSource(url);
  const root = await navigator.storage.getDirectory();
  const entry = await root.getFileHandle(STORED, { create: true });
  await writeStored(entry, bytes);
  await using picked = filesSource(new Map([[STORED, await entry.getFile()]]));
  const stored = new SyncReads(entry);
  try {
    const places: Place[] = [
      { name: "HTTP", read: readOf(http, file) },
      { name: "a picked file, slice", read: readOf(picked, STORED) },
      {
        name: "OPFS, sync access handle",
        read: async (start, into) => {
          if (!(await stored.read(start, into))) throw new Error(`OPFS must give ${into.length} bytes`);
        },
      },
    ];
    return await measureLoad(gpu, places, bytes, runs);
  } finally {
    stored.close();
  }
}

/** Bytes of a source's file, into memory that is given. */
const readOf =
  (source: CheckpointSource, file: string): Place["read"] =>
  async (start, into) => {
    const got = await source.read(file, start, start + into.length, into);
    if (got.buffer !== into.buffer) into.set(got);
  };

async function writeStored(entry: FileSystemFileHandle, bytes: number): Promise<void> {
  const handle = await (entry as unknown as { createSyncAccessHandle(): Promise<SyncHandle> }).createSyncAccessHandle();
  try {
    const piece = new Uint8Array(8 << 20);
    for (let at = 0; at < bytes; at += piece.length) {
      const part = piece.subarray(0, Math.min(piece.length, bytes - at));
      fillPattern(part, at);
      handle.write(part, { at });
    }
    handle.flush();
  } finally {
    handle.close();
  }
}

addEventListener("message", ({ data }: MessageEvent<LoadRequest>) => {
  void measureInWorker(data).then(
    (figures) => postMessage({ figures }),
    (error: unknown) => postMessage({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});
