/** Signals that ask a run to end: the first one lets the work stop at its next safe place, a second one ends the process. */
import { constants } from "node:os";
import { leave } from "./output.ts";

/** Ctrl-C; `kill` and a system that goes down; a terminal that is closed; Windows' Ctrl-Break. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", ...(process.platform === "win32" ? (["SIGBREAK"] as const) : [])] as const;
type Signal = (typeof SIGNALS)[number];

/** Why a run was stopped; the process is to end with `exitCode` (130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP, as shells expect). */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  readonly exitCode: number;
  constructor(signal: Signal) {
    super(`stopped by ${signal}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}

/** Is an error only how work says that it was stopped? One that came beside the stop is told as ever. */
export function isStop(error: unknown, { aborted, reason }: Pick<AbortSignal, "aborted" | "reason">): boolean {
  if (!aborted) return false;
  for (let one: unknown = error; one instanceof Error; one = one.cause) if (one === reason || one.name === "AbortError") return true;
  return false;
}

/** What a command ends with: the stop itself, whatever says so, or what else went wrong. */
export const endedBy = (error: unknown, signal: Pick<AbortSignal, "aborted" | "reason">): unknown =>
  isStop(error, signal) ? signal.reason : error;

/**
 * One Ctrl-C can arrive twice: from the terminal, and handed on by npm. A closed terminal's signal
 * comes from the shell too, which takes its time.
 */
const SAME_MS = 300;
const SAME_HANGUP_MS = 1000;

export interface Interruption extends Disposable {
  /** Aborts with an `Interrupted`. */
  readonly signal: AbortSignal;
}

/** Turns these signals into an abort, until disposed. `tell` is called with what to show at the first one. */
export function interruptible(tell: (text: string) => void = (text) => void process.stderr.write(`${text}\n`)): Interruption {
  const controller = new AbortController();
  let first = 0;
  const onSignal = (name: Signal): void => {
    const now = performance.now();
    if (controller.signal.aborted) {
      if (now - first >= (name === "SIGHUP" ? SAME_HANGUP_MS : SAME_MS)) leave((controller.signal.reason as Interrupted).exitCode);
      return;
    }
    first = now;
    tell("Stopping; once more stops at once.");
    controller.abort(new Interrupted(name));
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const signal of SIGNALS) process.off(signal, onSignal);
    },
  };
}
