/** Runs below so many milliseconds are waited for without a prediction, at the cost of some polls. */
const SHORT_MS = 40;

/** Milliseconds of single runs of one thing, each from the call until the queue is empty. */
export class RunClock {
  #least = Infinity;

  /**
   * Half of the least time so far is what a wait of long runs may sleep by. More would not do, nor any for short ones: a sleep ends a
   * millisecond late or two, a wait that sleeps past its work reports its own sleep and sleeps for as long in the next run, and 3 ms
   * are then told as 6 for ever.
   */
  async time(submit: () => void | Promise<void>, idle: (predictedMs: number) => Promise<void>): Promise<number> {
    const start = performance.now();
    await submit();
    const known = this.#least >= SHORT_MS && this.#least < Infinity;
    await idle(known ? Math.max(0, this.#least / 2 - (performance.now() - start)) : 0);
    const ms = performance.now() - start;
    this.#least = Math.min(this.#least, ms);
    return ms;
  }
}
