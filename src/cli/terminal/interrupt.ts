/** Ctrl-C: the first one lets the work stop at its next safe place, a second one ends the process. */
import { constants } from "node:os";

/** Why a run was stopped; the process is to end with `exitCode` (130 for Ctrl-C, as shells expect). */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  readonly exitCode: number;
  constructor(signal: "SIGINT" | "SIGTERM") {
    super(`stopped by ${signal}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}

/** One Ctrl-C can arrive twice: from the terminal, and handed on by npm. */
const SAME_MS = 300;

export interface Interruption extends Disposable {
  /** Aborts with an `Interrupted`. */
  readonly signal: AbortSignal;
}

/** Turns SIGINT and SIGTERM into an abort, until disposed. `tell` is called with what to show at the first one. */
export function interruptible(tell: (text: string) => void = (text) => void process.stderr.write(`${text}\n`)): Interruption {
  const controller = new AbortController();
  let first = 0;
  const onSignal = (name: "SIGINT" | "SIGTERM"): void => {
    const now = performance.now();
    if (controller.signal.aborted) {
      if (now - first >= SAME_MS) process.exit((controller.signal.reason as Interrupted).exitCode);
      return;
    }
    first = now;
    tell("Stopping; once more stops at once.");
    controller.abort(new Interrupted(name));
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      process.off("SIGINT", onSignal);
      process.off("SIGTERM", onSignal);
    },
  };
}
