/** What a worker leaves to others, and what it says of it: each thing once. */
import { pause } from "../base/pause.ts";
import type { Hint } from "./backend.ts";

/** A worker that cannot do what a hint names leaves it to others for so long. */
const LATER_MS = 250;
/** One that failed leaves all of its kind to others for so long: its device may be lost, or too small. */
const FAILED_MS = 30_000;

export class Leaving {
  /** What was said last of each. */
  readonly #told = new Map<string, string>();
  /** What it failed at, and until when it leaves that to others. */
  readonly #failed = new Map<string, number>();

  constructor(private readonly onNote: ((message: string) => void) | undefined) {}

  /** @param name of a run, or a list of tasks */
  tell(name: string, message: string): void {
    if (this.#told.get(name) === message) return;
    this.#told.set(name, message);
    this.onNote?.(`${name}: ${message}`);
  }

  /** Is it left to others, as this one failed at it a moment ago? */
  isLeft(name: string): boolean {
    return (this.#failed.get(name) ?? 0) > Date.now();
  }

  /** It failed at it. */
  failed(name: string, failure: string): void {
    this.onNote?.(`${name}: ${failure}; it is left to others for ${FAILED_MS / 1000} s`);
    this.#failed.set(name, Date.now() + FAILED_MS);
  }

  /** Gives a hint back: it is free at once, and this worker is not the one who takes it. */
  async giveBack(hint: Hint, signal: AbortSignal): Promise<void> {
    await hint.release();
    await pause(LATER_MS, signal);
  }
}
