/** Learning rates by step: constant, falling by a cosine, or falling in a line; each after a warm-up. */
import { CogwheelError } from "../base/errors.ts";
import { assertKnown } from "../graph/known-name.ts";

export const SCHEDULES = ["constant", "cosine", "linear"] as const;

/** How the learning rate goes along the steps. */
export interface Schedule {
  /** Default constant. */
  readonly name?: (typeof SCHEDULES)[number];
  /** Steps in which the rate rises to its full value: step i, from 0, has (i + 1) / warmupSteps of it. Default 0. */
  readonly warmupSteps?: number;
  /** What is left of the rate at the end of a schedule that falls, 0 to 1. Default 0. */
  readonly floor?: number;
}

/**
 * The share of the full rate that step `step`, from 0, of `total` has. After the warm-up a cosine is ½(1 + cos πp) and a line 1 − p, with p
 * from 0 at the first step to 1 behind the last one, as in transformers' get_cosine_schedule_with_warmup.
 */
export function rateShare({ name = "constant", warmupSteps = 0, floor = 0 }: Schedule, step: number, total: number): number {
  if (step < warmupSteps) return (step + 1) / warmupSteps;
  if (name === "constant") return 1;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, total - warmupSteps));
  const share = name === "cosine" ? (1 + Math.cos(Math.PI * progress)) / 2 : 1 - progress;
  return floor + (1 - floor) * share;
}

/** Throws for a schedule that is none. */
export function checkSchedule(schedule: Schedule): void {
  const { name, warmupSteps = 0, floor = 0 } = schedule;
  assertKnown("training", "the schedule's name", name, SCHEDULES);
  if (!Number.isInteger(warmupSteps) || warmupSteps < 0)
    throw new CogwheelError("training", `warmupSteps must be a whole number from 0, got ${warmupSteps}; leave it out for none`);
  if (!(floor >= 0 && floor <= 1))
    throw new CogwheelError("training", `the schedule's floor must be a share from 0 to 1, got ${floor}; leave it out for 0`);
}

/** What of a schedule is other than the default: two that are the same are told alike. */
export function toldSchedule({ name = "constant", warmupSteps = 0, floor = 0 }: Schedule = {}): Schedule {
  const falls = name !== "constant";
  return { ...(falls ? { name } : {}), ...(warmupSteps ? { warmupSteps } : {}), ...(falls && floor ? { floor } : {}) };
}
