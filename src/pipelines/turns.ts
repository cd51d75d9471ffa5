/** Calls on what only one can use at a time: one after another, each in its turn, and an end that does not leave one under way. */
import { CogwheelError } from "../base/errors.ts";
import { linkedAbort } from "../base/linked-abort.ts";

export class Turns {
  readonly #ended = new AbortController();
  /** Resolves when the last call that was made is over. */
  #last: Promise<void> = Promise.resolve();
  /** Calls that wait or are under way. */
  #calls = 0;

  /** @param room, what for the error of a call after the end: `[room] what cannot be used …` */
  constructor(
    private readonly room: string,
    private readonly what: string,
  ) {}

  /**
   * A whole call, from what is checked before its turn to what is made of its result. Of one that the end stops nobody need await the
   * rejection: whoever ended it knows. What else goes wrong is left to the caller.
   */
  call<T>(work: () => Promise<T>): Promise<T> {
    const { signal } = this.#ended;
    const heard = (): void => void promise.catch(() => undefined);
    const promise = (async () => {
      signal.addEventListener("abort", heard, { once: true });
      try {
        return await work();
      } finally {
        signal.removeEventListener("abort", heard);
      }
    })();
    return promise;
  }

  /**
   * Does `work` when all calls before it are over; its signal aborts with the caller's and at the end. A call
   * that is aborted while it waits fails at once.
   * @param onQueued called with 0 where another is before it, and with 1 when its turn has come
   */
  async take<T>(signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>, onQueued?: (done: 0 | 1) => void): Promise<T> {
    using either = linkedAbort(this.#ended.signal, signal);
    const before = this.#last;
    let over!: () => void;
    this.#last = new Promise((resolve) => (over = resolve));
    const queued = this.#calls++ > 0;
    try {
      if (queued) onQueued?.(0);
      await orAborted(before, either.signal);
      if (queued) onQueued?.(1);
      return await work(either.signal);
    } finally {
      this.#calls--;
      void before.then(over);
    }
  }

  /** A callback of the caller's within a turn: what it waits for may be the end, and after the end it is not called. */
  async callback<T>(call: () => T | Promise<T>): Promise<T> {
    const { signal } = this.#ended;
    signal.throwIfAborted();
    return await orAborted(call(), signal);
  }

  /** Aborts what is under way and what waits, and resolves when all of it has come to its end. */
  async end(): Promise<void> {
    this.#ended.abort(
      new CogwheelError(this.room, `${this.what} cannot be used after dispose; open it again, and await what is under way before`, {
        code: "aborted",
      }),
    );
    await this.#last;
  }
}

/** `promise`, or the signal's reason if that comes first; then what becomes of the promise is nobody's any more. */
async function orAborted<T>(promise: T | Promise<T>, signal: AbortSignal): Promise<T> {
  let stop!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([aborted, promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
