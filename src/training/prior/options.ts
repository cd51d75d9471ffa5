/** Prior preservation: what a run keeps of what the model can already do, while it learns something else. */
import { CogwheelError } from "../../base/errors.ts";
import { assertKnown } from "../../graph/known-name.ts";
import type { TrainingData } from "../batches.ts";

export const PRIOR_TARGETS = ["model", "clips"] as const;

/**
 * What prior clips are learned as. `model`: as the model had them before the run, at each clip's noise the velocity that the checkpoint's
 * own weights predict; a model that has not changed loses nothing by it. `clips`: as they are, by the loss of all others (DreamBooth,
 * arXiv:2208.12242).
 */
export type PriorTarget = (typeof PRIOR_TARGETS)[number];

/** What `train` keeps of what the model can already do, while it learns something else. */
export interface PriorOptions {
  /** Clips of what the model can already do, such as it generates itself. */
  readonly data: TrainingData;
  /** Their share of what is learned from, above 0 and below 1. Default 0.5. */
  readonly share?: number;
  /** What the loss of a prior clip counts, where another's counts 1. Default 1. */
  readonly weight?: number;
  /** Default `model`. */
  readonly target?: PriorTarget;
}

/** Options with their defaults. */
export interface Prior {
  readonly share: number;
  readonly weight: number;
  readonly target: PriorTarget;
}

/** Throws for what no run can have. */
export function priorOf({ share = 0.5, weight = 1, target = "model" }: Omit<PriorOptions, "data">): Prior {
  if (!(share > 0 && share < 1))
    throw new CogwheelError("training", `prior.share must be above 0 and below 1, got ${share}; 0.5 is one prior clip for each other`);
  if (!(weight > 0 && Number.isFinite(weight)))
    throw new CogwheelError("training", `prior.weight must be a number above 0, got ${weight}; leave prior out to keep nothing`);
  assertKnown("training", "prior.target", target, PRIOR_TARGETS);
  return { share, weight, target };
}
