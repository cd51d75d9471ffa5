/** Calls on what only one can use at a time: one after another, each in its turn, and an end that does not leave one under way. */
import { CogwheelError } from "../errors.ts";

export class Turns {
  readonly #ended = new AbortController();
  /** Resolves when the last call that was made is over. */
  #last: Promise<void> = Promise.resolve();
  #busy = 0;

  /** @param room, what for the error of a call after the end: `[room] what cannot be used …` */
  constructor(
    private readonly room: string,
    private readonly what: string,
  ) {}

  /** Is a call under way, or waiting? */
  get busy(): boolean {
    return this.#busy > 0;
  }

  /** Aborts at the end. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Does `work` when all calls before it are over; its signal aborts with the caller's and at the end. A call that is aborted while it waits fails at once. */
  async take<T>(signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const both = new AbortController();
    const sources = [this.#ended.signal, ...(signal ? [signal] : [])];
    const listeners = sources.map((source) => [source, () => both.abort(source.reason)] as const);
    for (const [source, abort] of listeners) {
      if (source.aborted) abort();
      source.addEventListener("abort", abort, { once: true });
    }
    const before = this.#last;
    let over!: () => void;
    this.#last = new Promise((resolve) => (over = resolve));
    this.#busy++;
    try {
      await orAborted(before, both.signal);
      return await work(both.signal);
    } finally {
      this.#busy--;
      void before.then(over);
      for (const [source, abort] of listeners) source.removeEventListener("abort", abort);
    }
  }

  /** Aborts what is under way and what waits, and resolves when all of it has come to its end. */
  async end(): Promise<void> {
    this.#ended.abort(new CogwheelError(this.room, `${this.what} cannot be used after dispose; open it again, and await what is under way before`));
    await this.#last;
  }
}

/** `promise`, or the signal's reason if that comes first. */
export async function orAborted<T>(promise: T | Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let stop!: () => void;
  const aborted = new Promise<never>((_, reject) => signal.addEventListener("abort", (stop = () => reject(signal.reason as Error)), { once: true }));
  aborted.catch(() => undefined);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
