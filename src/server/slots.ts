/** Work that only some may do at a time, while a few others wait; who comes beyond these is told to come again. */
import { ApiError } from "./errors.ts";

export class Slots {
  #taken = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(
    private readonly most: number,
    private readonly mostWaiting: number,
  ) {}

  /** A place, which is given back when it is disposed of. */
  async take(): Promise<Disposable> {
    if (this.#taken >= this.most) {
      if (this.#waiting.length >= this.mostWaiting)
        throw new ApiError(
          429,
          "server_busy",
          `at most ${this.most} requests of this kind are worked on at a time while ${this.mostWaiting} wait, got one more; try again`,
          { retryAfter: 1 },
        );
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#taken += 1;
    return {
      [Symbol.dispose]: () => {
        const next = this.#waiting.shift();
        if (next)
          next(); // the place goes to it
        else this.#taken -= 1;
      },
    };
  }
}
