/** When a failed request is tried again, and when a server is given up. */
import { pause } from "../base/pause.ts";
import { LEAST_RATE, STALL_SECONDS, type NetworkFault } from "./http-guard.ts";

/** Failures in a row that bring nothing, until it is left; a server that was waited for in vain counts twice. */
export const BARREN_TRIES = 5;

/** Answers that may be others a moment later. */
export const PASSING: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

/** The seconds that a server asks to be left alone for, told as such or as a date; not above 0 where it asks for none. */
export function retryAfter(headers: Headers): number {
  const text = headers.get("retry-after") ?? "0";
  return /^\s*\d/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
}

/** Decides how often something is tried again, and how long is waited before. */
export class Patience {
  #barren = 0;

  /** @param stallSeconds also the longest time that a server may ask to be left alone for */
  constructor(
    readonly tries: number,
    readonly signal: AbortSignal | undefined,
    readonly stallSeconds = STALL_SECONDS,
  ) {}

  /** So many bytes came before it failed: where that is something, failures are counted anew. A byte a connection is a drip too. */
  brought(bytes: number): void {
    if (bytes >= LEAST_RATE * this.stallSeconds) this.#barren = 0;
  }

  /** Waits before another try; false, at once, where there is to be none. `after`: the seconds that the server asked for. */
  async again(kind: NetworkFault["kind"], after = 0): Promise<boolean> {
    if (kind === "final") return false;
    this.#barren += kind === "stalled" ? 2 : 1;
    if (this.#barren >= this.tries) return false;
    await pause(after > 0 ? Math.min(after, this.stallSeconds) * 1000 : 100 * 2 ** this.#barren, this.signal);
    return true;
  }
}
