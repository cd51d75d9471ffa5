/** Loading in a browser, in a worker: over HTTP, from a file that was picked, and from the browser's private file system. */
import { Gpu } from "../../src/gpu/gpu.ts";
import { httpSource } from "../../src/sources/http.ts";
import { fillPattern, measureLoad, type Place } from "./measure.ts";

export interface LoadRequest {
  readonly url: string;
  readonly file: string;
  readonly bytes: number;
  readonly runs: number;
}

/** Of `FileSystemSyncAccessHandle`, which TypeScript's types for pages leave out. */
interface SyncHandle {
  read(into: Uint8Array, options: { at: number }): number;
  write(data: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
}

async function measureInWorker({ url, file, bytes, runs }: LoadRequest): Promise<unknown> {
  await using gpu = await Gpu.open();
  await using http = httpSource(url);
  const root = await navigator.storage.getDirectory();
  const entry = await root.getFileHandle("bench", { create: true });
  const handle = await (entry as unknown as { createSyncAccessHandle(): Promise<SyncHandle> }).createSyncAccessHandle();
  try {
    const piece = new Uint8Array(8 << 20);
    for (let at = 0; at < bytes; at += piece.length) {
      const part = piece.subarray(0, Math.min(piece.length, bytes - at));
      fillPattern(part, at);
      handle.write(part, { at });
    }
    handle.flush();
    const places: Place[] = [
      {
        name: "HTTP",
        read: async (start, into) => {
          const got = await http.read(file, start, start + into.length, into);
          if (got.buffer !== into.buffer) into.set(got);
        },
      },
      {
        name: "OPFS, sync access handle",
        read: async (start, into) => {
          if (handle.read(into, { at: start }) !== into.length) throw new Error(`OPFS must give ${into.length} bytes`);
        },
      },
    ];
    const figures = await measureLoad(gpu, places, bytes, runs);
    return figures;
  } finally {
    handle.close();
    await root.removeEntry("bench");
  }
}

addEventListener("message", ({ data }: MessageEvent<LoadRequest>) => {
  void measureInWorker(data).then(
    (figures) => postMessage({ figures }),
    (error: unknown) => postMessage({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});
