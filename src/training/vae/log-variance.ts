/**
 * The log-variance s of what a reconstruction is off by, with which it counts as rec / e^s + s (LPIPSWithDiscriminator's `logvar`; Esser,
 * Rombach & Ommer 2021): fixed, or learnt by AdamW beside the weights. One number needs no device: its slope, 1 − rec / e^s, follows from
 * the loss that every step tells.
 */
import type { Optimizer } from "../optimizer.ts";

/** The log-variance by which a reconstruction counts. */
export interface LogVarianceOptions {
  /** What it is, or begins with. Default 0. */
  readonly start?: number;
  /** Default false. */
  readonly learn?: boolean;
}

/** What its next update depends on. */
export interface LogVarianceProgress {
  readonly value: number;
  readonly first: number;
  readonly second: number;
  readonly updates: number;
}

export class LogVariance {
  #progress: LogVarianceProgress;

  constructor(
    private readonly options: LogVarianceOptions,
    private readonly optimizer: Pick<Optimizer, "betas" | "eps">,
  ) {
    this.#progress = { value: options.start ?? 0, first: 0, second: 0, updates: 0 };
  }

  get value(): number {
    return this.#progress.value;
  }

  get progress(): LogVarianceProgress {
    return this.#progress;
  }

  set progress(progress: LogVarianceProgress) {
    this.#progress = progress;
  }

  /** An update of AdamW, without decay. @param rec the reconstruction's loss, the mean over a step's micro-steps */
  update(rec: number, lr: number): void {
    if (!this.options.learn || !Number.isFinite(rec)) return;
    const { value, ...before } = this.#progress;
    const [beta1, beta2] = this.optimizer.betas;
    const slope = 1 - rec * Math.exp(-value);
    const updates = before.updates + 1;
    const first = beta1 * before.first + (1 - beta1) * slope;
    const second = beta2 * before.second + (1 - beta2) * slope * slope;
    const [mean, square] = [first / (1 - beta1 ** updates), second / (1 - beta2 ** updates)];
    this.#progress = { value: value - (lr * mean) / (Math.sqrt(square) + this.optimizer.eps), first, second, updates };
  }
}
