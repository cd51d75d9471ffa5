/** How fast a queue carries what two workers give each other. */
import type { JobBackend } from "./backend.ts";

export interface QueueRates {
  /** Of a small value, there and back. */
  readonly turnSeconds: number;
  readonly bytesPerSecond: number;
}

const VALUE = "measure.value";
const TIMES = 5;
const PROBE_BYTES = 2_000_000;

/** Puts values and a blob into a queue and takes them out again. @param bytes of the blob; default 2 MB */
export async function measureQueue(
  { values, blobs }: Pick<JobBackend, "values" | "blobs">,
  bytes: number = PROBE_BYTES,
): Promise<QueueRates> {
  const now = (): number => performance.now() / 1000;
  let turnSeconds = Number.POSITIVE_INFINITY;
  // The same key each time, as stores remember deleted ones; that another worker measures too does no harm.
  let revision = (await values.get(VALUE))?.revision ?? 0;
  for (let n = 0; n < TIMES; n++) {
    const began = now();
    await values.put(VALUE, new Uint8Array(1000), revision, "unsynced");
    revision = (await values.get(VALUE))?.revision ?? 0;
    turnSeconds = Math.min(turnSeconds, now() - began);
  }
  const blob = `measure.${crypto.randomUUID().slice(0, 8)}`;
  const began = now();
  await blobs.put(blob, new Uint8Array(bytes), "unsynced");
  await blobs.get(blob);
  const seconds = now() - began;
  await blobs.delete(blob);
  return { turnSeconds, bytesPerSecond: bytes / seconds };
}
