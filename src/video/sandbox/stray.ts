/**
 * Errors that came by no call: a promise that nobody awaited, a callback that threw. A file that leaves one often has an error of its own,
 * which says more; where it has none, reading may wait for ever for what will not come.
 */
import { errorMessage, type FromReader } from "./messages.ts";

const GRACE_MS = 250;

export class StrayErrors {
  readonly #send: (message: FromReader) => void;
  readonly #end: () => void;
  #file: { name: string } | undefined;
  /** Whether one came since `reading` was last called: even where the file ended by itself, nobody knows in what state a library is. */
  came = false;

  /** @param end ends the reader: in what state a library is then nobody knows */
  constructor(send: (message: FromReader) => void, end: () => void) {
    this.#send = send;
    this.#end = end;
  }

  /** Tells of what is read from now on; `undefined` between two files, when strays are of no account. */
  reading(name: string | undefined): void {
    this.#file = name === undefined ? undefined : { name };
    this.came = false;
  }

  readonly caught = (error: unknown): void => {
    const file = this.#file;
    if (!file) return;
    this.came = true;
    setTimeout(() => {
      if (this.#file !== file) return;
      this.#send({ ...errorMessage(error, file.name), spent: true });
      this.#end();
    }, GRACE_MS);
  };
}
