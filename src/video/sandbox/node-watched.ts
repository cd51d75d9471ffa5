/** How a process begins that reads strangers' files: watched from a thread of its own, with no wish but its parent's. */
import { Worker } from "node:worker_threads";

/** Ends the process, with what its parent may tell of it. */
export function fail(error: unknown): never {
  console.error(error);
  process.exit(1);
}

/**
 * Resolves when the watch began: without it nothing is read. The second argument of the process is its parent's number.
 * @param watch the watch's program @param cells what it goes by (node-watch.ts)
 */
export async function beginWatched(watch: URL, cells: Int32Array): Promise<void> {
  // A terminal's Ctrl-C reaches this process too; what it means is for the parent to say.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
  // Holds the event loop while a codec works.
  setInterval(() => {}, 2 ** 30);
  await new Promise((resolve) =>
    new Worker(watch, { workerData: { cells, parent: Number(process.argv[2]) } }).on("error", fail).on("exit", fail).on("message", resolve),
  );
}
