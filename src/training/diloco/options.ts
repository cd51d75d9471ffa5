/** What a run by DiLoCo is told (Douillard et al. 2023, arXiv:2311.08105): replicas train apart, and now and then meet. */
import { CogwheelError } from "../../base/errors.ts";
import { assertKnown } from "../../graph/known-name.ts";
import { EXCHANGES } from "./exchange.ts";
import { INNER_STATES, type ReplicaWorkers } from "./replica-workers.ts";

/** Replicas of what is trained take steps apart, each on data of its own; after every round of them the outer optimizer steps. */
export interface DilocoOptions {
  /** Steps of a round: what a replica takes by itself. */
  readonly steps: number;
  /** Default 2. */
  readonly replicas?: number;
  /** Of the outer optimizer, torch's SGD with Nesterov's momentum. Default 0.7. */
  readonly outerLr?: number;
  /** Default 0.9. */
  readonly outerMomentum?: number;
  /** How a replica gives what it came to: the way from where it began, in 8 bits, or all of it. Default int8. */
  readonly exchange?: "int8" | "f32";
  /** `kept`: a replica's optimizer goes on from round to round; `fresh`: it begins each anew, and nothing of it travels. Default kept. */
  readonly innerState?: "kept" | "fresh";
  /** Take the replicas' rounds in place of this device, with the same bytes. Default: it takes them one after another. */
  readonly workers?: ReplicaWorkers;
}

export type Diloco = Required<Omit<DilocoOptions, "workers">>;

const DEFAULTS: Omit<Diloco, "steps"> = { replicas: 2, outerLr: 0.7, outerMomentum: 0.9, exchange: "int8", innerState: "kept" };

/** The options with their defaults; throws for values that no run can have. */
export function dilocoOf({ workers: _, ...options }: DilocoOptions): Diloco {
  for (const name of Object.keys(options)) assertKnown("training", "an option of diloco", name, ["steps", ...Object.keys(DEFAULTS)]);
  const o: Diloco = { ...DEFAULTS, ...options };
  const must = (name: string, value: number, holds: boolean, rule: string): void => {
    if (!holds) throw new CogwheelError("training", `${name} must be ${rule}, got ${value}; correct it`);
  };
  must("diloco's steps", o.steps, Number.isSafeInteger(o.steps) && o.steps >= 1, "a whole number from 1");
  must("replicas", o.replicas, Number.isSafeInteger(o.replicas) && o.replicas >= 1, "a whole number from 1");
  must("outerLr", o.outerLr, o.outerLr > 0 && o.outerLr < 1e3, "a number above 0");
  must("outerMomentum", o.outerMomentum, o.outerMomentum >= 0 && o.outerMomentum < 1, "a number from 0 to below 1");
  assertKnown("training", "exchange", o.exchange, EXCHANGES);
  assertKnown("training", "innerState", o.innerState, INNER_STATES);
  return o;
}
