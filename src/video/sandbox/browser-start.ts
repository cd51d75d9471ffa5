/**
 * Starts the worker. A module that is only ever imported when it is needed, so that every bundle has it as a chunk of its own, beside
 * which the worker's file lies (build.mjs).
 */
import { CogwheelError } from "../../base/errors.ts";
import type { FromWorker } from "./browser-worker.ts";

/**
 * The worker when it is ready. Bundlers that know `new Worker(new URL(…, import.meta.url))` bring its file along; for others (esbuild) the
 * package holds its text too, which a page whose Content-Security-Policy forbids workers from blobs cannot start. Throws a
 * CogwheelError where none is ready within so many seconds, or the signal's reason.
 */
export async function startWorker(named: string | URL | undefined, seconds: number, signal: AbortSignal | undefined): Promise<Worker> {
  if (named !== undefined) {
    const given = await whenReady(() => new Worker(named, { type: "module" }), seconds, signal);
    if (given) return given;
    throw new CogwheelError(
      "video",
      "the option reader must name the file chunks/browser-media-worker.js of this package, " +
        `of this version and on the page's own origin, got ${String(named)}, which cannot be started`,
    );
  }
  const found = await whenReady(
    () => new Worker(new URL("./browser-media-worker.js", import.meta.url), { type: "module" }),
    seconds,
    signal,
  );
  if (found) return found;
  const { text } = await import("../../../build/media-worker-text.ts");
  const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  try {
    const made = await whenReady(() => new Worker(address, { type: "module" }), seconds, signal);
    if (made) return made;
  } finally {
    URL.revokeObjectURL(address);
  }
  throw new CogwheelError(
    "video",
    "films and pictures are read in a worker, which must start, got a bundle without browser-media-worker.js and a page " +
      "that forbids workers from blobs; serve that file of this package and name its URL with the option reader (docs/api.md)",
  );
}

/** `undefined` where it cannot be loaded, or does not say that it is ready: a script of something else. */
async function whenReady(start: () => Worker, seconds: number, signal: AbortSignal | undefined): Promise<Worker | undefined> {
  let worker: Worker;
  try {
    worker = start();
  } catch {
    return undefined; // forbidden by the page's policy
  }
  let timer: ReturnType<typeof setTimeout> | undefined;
  let abort!: () => void;
  const ready = await new Promise<boolean>((resolve) => {
    abort = () => resolve(false);
    timer = setTimeout(abort, Math.min(1000 * seconds, 2 ** 31 - 1));
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted) abort();
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => resolve(data?.type === "ready");
    worker.onerror = (event) => {
      event.preventDefault();
      resolve(false);
    };
  });
  clearTimeout(timer);
  signal?.removeEventListener("abort", abort);
  worker.onmessage = worker.onerror = null;
  if (ready && !signal?.aborted) return worker;
  worker.terminate();
  signal?.throwIfAborted();
  return undefined;
}
