/** How far a whole generation is, and what is left: what its stages were expected to take, corrected by what they do take. */
import type { Stage } from "./cogvideox/stage-names.ts";

/** What `onProgress` tells beside the stage. */
export interface OverallProgress {
  /** The share of the whole generation that is done, 0 to 1. It never falls. */
  readonly overall: number;
  /**
   * Seconds until the end. Known from the start where `measureRates` has measured this model here, else from the first step on; undefined
   * before that.
   */
  readonly secondsLeft?: number;
  /** Of `prompts`: the number of the video that is being made, from 1, and of how many. */
  readonly video?: number;
  readonly videos?: number;
}

/** A part of a generation, in order, and its share of the whole. */
export interface ExpectedPart {
  readonly stage: Stage;
  /** In seconds where those are known, else in any unit that all parts share. */
  readonly weight: number;
  /** What was done of it before this run: of the steps of one that goes on. Default 0. */
  readonly from?: number;
}

/** So much of what a stage takes at first may be kernels that a driver compiles; more is how slow the machine is. */
const COMPILING_SECONDS = 60;

export class Overall {
  readonly #parts: readonly ExpectedPart[];
  readonly #total: number;
  /** Seconds of a unit of weight: known from the start, or learnt from the steps. */
  #unit: number | undefined;
  #stage: Stage | undefined;
  /** Since when a stage's pace counts: its begin, of steps the end of the first. */
  #from = { at: 0, share: 0 };
  #most = 0;

  /** @param known are the weights seconds? @param now milliseconds */
  constructor(
    parts: readonly ExpectedPart[],
    known: boolean,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#parts = parts;
    this.#total = parts.reduce((sum, { weight }) => sum + weight, 0);
    this.#unit = known ? 1 : undefined;
  }

  /** A share of a stage is done; the stages before it are over, or were not needed. */
  at(stage: Stage, done: number): OverallProgress {
    if (stage !== this.#stage) [this.#stage, this.#from] = [stage, { at: this.now(), share: 0 }];
    const index = this.#parts.findIndex((part) => part.stage === stage);
    // What nobody expected (a preview's colours) takes nothing of the whole.
    if (index < 0) return { overall: this.#most };
    const { weight, from = 0 } = this.#parts[index]!;
    const share = from < 1 ? Math.max(0, (done - from) / (1 - from)) : 1;
    const sum = (parts: readonly ExpectedPart[]): number => parts.reduce((all, part) => all + part.weight, 0);
    const [before, after] = [sum(this.#parts.slice(0, index)), sum(this.#parts.slice(index + 1))];
    if (this.#total > 0) this.#most = Math.max(this.#most, Math.min(1, (before + share * weight) / this.#total));
    const elapsed = (this.now() - this.#from.at) / 1000;
    const gained = share - this.#from.share;
    const known = this.#unit;
    const first = stage === "denoise" && this.#from.share === 0;
    let paced = gained > 0 && elapsed > 0 ? elapsed / gained : undefined;
    // The whole stage at a pace that what is compiled cannot explain, on a machine that has other work beside this.
    const slow = known === undefined || paced === undefined ? 0 : Math.max(known * weight, (elapsed - COMPILING_SECONDS) / gained);
    // What is known of a step is better than the first one, which may hold the compilation of its kernels.
    if (first && slow > 0) paced = slow;
    if (first && share > 0) this.#from = { at: this.now(), share };
    // A stage at work tells more of itself than what was expected of it; steps tell of what follows too, which is as much arithmetic, and
    // so does a prompt or a picture that is encoded, where it is slow.
    if (weight > 0) {
      if (stage === "denoise" && paced !== undefined) this.#unit = paced / weight;
      else if (slow > 0 && !stage.startsWith("load ")) this.#unit = slow / weight;
    }
    const own = paced ?? (this.#unit === undefined ? undefined : this.#unit * weight);
    return {
      overall: this.#most,
      ...(own === undefined || this.#unit === undefined ? {} : { secondsLeft: own * (1 - share) + this.#unit * after }),
    };
  }
}
