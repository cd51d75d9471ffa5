/**
 * The watch over a reader's process: a thread of it, which goes on when the reader's own is stuck in a loop or in a codec. It ends the
 * whole process when that gets no further, takes too much memory, or has lost its parent.
 */
import { writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";

/** Places in the shared memory. `ticks` and `mebibytes` are limits; nothing is counted while `busy` is 0. */
export const CELL = { progress: 0, busy: 1, ticks: 2, mebibytes: 3 } as const;

/** Where the reason goes, and a beat now and then while the reader gets ahead. */
export const REASON_FD = 4;
export const BEAT = ".";
export const TICK_MS = 50;
const TICKS_A_BEAT = 5;

/** Endless. Time is counted in ticks, not by the clock: a machine that slept, or was stopped, did not make the reader late. */
function watch({ cells, parent }: { cells: Int32Array; parent: number }): never {
  const still = new Int32Array(new SharedArrayBuffer(4));
  parentPort?.postMessage("watching");
  let seen = -1;
  let told = -1;
  let ticks = 0;
  for (let tick = 0; ; tick++) {
    Atomics.wait(still, 0, 0, TICK_MS);
    // Where a parent's death changes nothing (Windows), the system ends its children with it.
    if (process.ppid !== parent && process.platform !== "win32") end();
    const progress = Atomics.load(cells, CELL.progress);
    const busy = Atomics.load(cells, CELL.busy) === 1;
    ticks = busy && progress === seen ? ticks + 1 : 0;
    seen = progress;
    if (tick % TICKS_A_BEAT === 0 && progress !== told) {
      told = progress;
      say(BEAT);
    }
    if (!busy) continue;
    if (ticks > Atomics.load(cells, CELL.ticks)) end("stalled");
    if (process.memoryUsage.rss() > Atomics.load(cells, CELL.mebibytes) * 2 ** 20) end("memory");
  }
}

function end(reason?: "stalled" | "memory"): never {
  if (reason) say(reason);
  process.kill(process.pid, "SIGKILL");
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); // until it arrives
}

function say(what: string): void {
  try {
    writeSync(REASON_FD, what);
  } catch {
    // Nobody takes it: the parent is busy or gone.
  }
}

if (workerData) watch(workerData as { cells: Int32Array; parent: number });
