/**
 * Which timestep a clip is trained at. Independent draws, or CogVideoX's explicit uniform sampling (arXiv:2408.06072, section 3.4): of n
 * draws in a step each comes from an interval of its own, so that a step's loss varies less from step to step. Draws of all ranks and
 * micro-steps count, and who computes which follows from their numbers alone.
 */
import { CogwheelError } from "../base/errors.ts";
import { type DrawKey, drawsOf } from "./draws.ts";

export const TIMESTEP_SAMPLINGS = ["uniform", "random"] as const;
export type TimestepSampling = (typeof TIMESTEP_SAMPLINGS)[number];

export interface TimestepPlace {
  readonly seed: DrawKey;
  /** From 0. */
  readonly step: number;
  /** This device and how many there are; each draws `count` timesteps. */
  readonly rank: number;
  readonly ranks: number;
  /** Draws of a rank in a step: its micro-steps times the clips of each. Of each rank, where they differ. */
  readonly count: number | readonly number[];
}

/** The number of a rank's first draw in a step, how many it has, and how many there are over all ranks. */
export function drawsOfRank({ rank, ranks, count }: TimestepPlace): { before: number; own: number; all: number } {
  if (!Number.isInteger(rank) || !Number.isInteger(ranks) || rank < 0 || rank >= ranks)
    throw new CogwheelError("training", `a rank must be from 0 to below the number of ranks, got ${rank} of ${ranks}`);
  if (typeof count === "number") return { before: rank * count, own: count, all: ranks * count };
  const sum = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);
  return { before: sum(count.slice(0, rank)), own: count[rank]!, all: sum(count) };
}

/** The first and the last one. */
export type TimestepRange = readonly [first: number, last: number];

const ALL: TimestepRange = [0, 999];

/** Throws where it is none. */
export function checkTimestepRange(range: readonly number[], total = 1000): void {
  const [first, last] = range;
  if (range.length !== 2 || !range.every((t) => Number.isInteger(t) && t >= 0 && t < total) || first! > last!)
    throw new CogwheelError(
      "training",
      `timestepRange must be the first and the last timestep, from 0 to ${total - 1}, got ${JSON.stringify(range)}; ` +
        "[400, 999] is where there is much noise",
    );
}

/** First and last timestep of interval `i` of `n` of a range; n need not divide the number of timesteps. */
export function timestepInterval(i: number, n: number, [from, to]: TimestepRange = ALL): { first: number; last: number } {
  const all = to - from + 1;
  const first = Math.floor((all * i) / n);
  return { first: from + first, last: from + Math.max(first, Math.floor((all * (i + 1)) / n) - 1) };
}

/**
 * The timesteps of a rank in a step, in the order of its clips. `uniform`: one from each interval over all ranks, and the intervals change
 * places from step to step, so that no clip's place in a step decides its noise.
 *
 * @param rangeOf where the timestep of the rank's draw `i` lies; by default anywhere
 */
export function timestepsOf(sampling: TimestepSampling, place: TimestepPlace, rangeOf: (i: number) => TimestepRange = () => ALL): number[] {
  const { seed, step } = place;
  const { before, own, all } = drawsOfRank(place);
  const order = sampling === "uniform" ? drawsOf(seed, "intervals", step).permutation(all) : [];
  return Array.from({ length: own }, (_, i) => {
    const index = before + i;
    const [from, to] = rangeOf(i);
    const { first, last } = sampling === "uniform" ? timestepInterval(order[index]!, all, [from, to]) : { first: from, last: to };
    return first + drawsOf(seed, "timestep", step, index).below(last - first + 1);
  });
}
