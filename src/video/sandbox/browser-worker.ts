/** The worker that reads untrusted media for browsers: takes one file after another, gives frames no faster than they are taken. */
import { takeCodec, type CodecAnswer, type CodecRequest } from "../read/codecs-browser.ts";
import { readMedia } from "../read/read.ts";
import { errorMessage, warningMessage, type FromReader } from "./messages.ts";
import { StrayErrors } from "./stray.ts";
import type { MediaRequest } from "./types.ts";

/** A file to read, that the host took a frame, or a decoder that the worker asked for. */
export type ToWorker = { request: MediaRequest; bytes: Uint8Array } | "taken" | CodecAnswer;
/** `ready` is the first; `progress` says that reading got ahead. */
export type FromWorker = { type: "progress" } | CodecRequest | (FromReader & { bytes?: Uint8Array });

/** Frames that were sent and not taken yet. */
const MOST_AHEAD = 2;
const PROGRESS_MS = 100;

let ahead = 0;
let proceed: (() => void) | undefined;
let told = 0;

const send = (message: FromWorker, transfer: Transferable[] = []): void => {
  told = performance.now();
  self.postMessage(message, { transfer });
};

/** Posted while the thread works, from within its loops: a worker's messages leave it at once. */
function progress(): void {
  if (performance.now() - told > PROGRESS_MS) send({ type: "progress" });
}

async function serve(request: MediaRequest, bytes: Uint8Array): Promise<void> {
  for await (const { data, ...frame } of readMedia(bytes, { ...request, progress, warn: (text) => send(warningMessage(text)) })) {
    while (ahead >= MOST_AHEAD) await new Promise<void>((resolve) => (proceed = resolve));
    ahead++;
    const own = data.byteLength === data.buffer.byteLength ? new Uint8Array(data.buffer) : Uint8Array.from(data);
    send({ type: "frame", ...frame, bytes: own }, [own.buffer as ArrayBuffer]);
  }
}

self.onmessage = async ({ data }: MessageEvent<ToWorker>) => {
  if (data === "taken") {
    ahead--;
    proceed?.();
    return;
  }
  if ("codec" in data) return takeCodec(data);
  const { request, bytes } = data;
  stray.reading(request.name);
  ahead = 0;
  const last = await serve(request, bytes).then(
    (): FromReader => ({ type: "end" }),
    (error: unknown) => errorMessage(error, request.name),
  );
  const spent = stray.came;
  stray.reading(undefined);
  send({ ...last, ...(spent ? { spent } : {}) });
};
const stray = new StrayErrors(send, () => self.close());
self.onunhandledrejection = (event) => {
  event.preventDefault();
  stray.caught(event.reason);
};
self.onerror = (event) => {
  stray.caught(event);
  return true; // it is told
};
// What a library says is for nobody.
for (const level of ["log", "info", "warn", "error"] as const) console[level] = () => {};
send({ type: "ready" });
