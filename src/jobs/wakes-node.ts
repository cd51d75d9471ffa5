/** Waiting until something in a folder changes, in Node: as soon as the system tells, and by looking where it does not. */
import { watch, type FSWatcher } from "node:fs";

/** Systems tell of folders on local disks at once; of others, and where watches are used up, it is found out after so long. */
const LOOK_MS = 250;

export interface Woken extends Disposable {
  /** Resolves with the next change since the last call, after LOOK_MS, or after `atMostMs`; rejects with the signal's reason. */
  next(signal: AbortSignal, atMostMs?: number): Promise<void>;
}

export class Wakes implements Disposable {
  #watcher: FSWatcher | undefined;
  #began = false;
  readonly #listeners = new Set<() => void>();

  constructor(private readonly folder: string) {}

  /** Changes from now on. */
  listen(): Woken {
    this.#begin();
    let changed = false;
    let wake: (() => void) | undefined;
    const tell = (): void => {
      changed = true;
      wake?.();
    };
    this.#listeners.add(tell);
    return {
      next: (signal, atMostMs = LOOK_MS) =>
        new Promise<void>((done, fail) => {
          if (signal.aborted) return fail(signal.reason as Error);
          const end = (): void => {
            clearTimeout(timer);
            signal.removeEventListener("abort", end);
            wake = undefined;
            changed = false;
            if (signal.aborted) fail(signal.reason as Error);
            else done();
          };
          const timer = setTimeout(end, Math.min(LOOK_MS, atMostMs));
          signal.addEventListener("abort", end, { once: true });
          wake = end;
          if (changed) end();
        }),
      [Symbol.dispose]: () => void this.#listeners.delete(tell),
    };
  }

  #begin(): void {
    if (this.#began) return;
    this.#began = true;
    try {
      this.#watcher = watch(this.folder, { persistent: false }, () => {
        for (const tell of this.#listeners) tell();
      });
      this.#watcher.on("error", () => this.#watcher?.close());
    } catch {
      // Too many watches, or a file system without: it is looked at.
    }
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
  }
}
