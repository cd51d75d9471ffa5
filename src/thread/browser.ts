/** A model's thread in a page: a worker. */
import type { Thread } from "./thread.ts";

/** @param given the app's own worker, in place of the package's */
export async function startThread(given: Worker | undefined): Promise<Thread> {
  const { startWorker } = await import("./browser-start.ts");
  return await startWorker(given);
}
