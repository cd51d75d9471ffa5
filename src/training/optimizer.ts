/** Optimizers: their settings, and the values of a step that their ops read, computed in float64. */
import { CogwheelError } from "../base/errors.ts";
import { assertKnown } from "../graph/known-name.ts";
import { UPDATE, UPDATE_VALUES } from "../ops/gradient_norm.ts";

export const OPTIMIZERS = ["adamw", "muon"] as const;

/** How parameters move along their gradients. */
export interface OptimizerOptions {
  /** `adamw`: torch's. `muon`: matrices move along orthogonal updates, and all else by AdamW. Default adamw. */
  readonly name?: (typeof OPTIMIZERS)[number];
  /** The full learning rate. Default 1e-4. */
  readonly lr?: number;
  /** Of AdamW's means. Default [0.9, 0.95]. */
  readonly betas?: readonly [number, number];
  /** Default 1e-8. */
  readonly eps?: number;
  /** Decoupled decay of every trained tensor. Default 1e-4. */
  readonly weightDecay?: number;
  /** Bits of a value of AdamW's means, for tensors of 4096 values or more. Default 32. */
  readonly bits?: 8 | 32;
  /** Of Muon. Default 0.95. */
  readonly momentum?: number;
  /** Parts of the names of matrices that Muon leaves to AdamW. Default: a model's ends; {@link ENDS} of a transformer. */
  readonly adamOnly?: readonly string[];
}

/** A transformer's matrices that are not hidden between others: its ends, and what modulates. */
export const ENDS: readonly string[] = ["proj_out", "patch_embed", ".linear", "_embedding"];

export type Optimizer = Required<OptimizerOptions>;

const DEFAULTS: Optimizer = {
  name: "adamw",
  lr: 1e-4,
  betas: [0.9, 0.95],
  eps: 1e-8,
  weightDecay: 1e-4,
  bits: 32,
  momentum: 0.95,
  adamOnly: ENDS,
};

/** The options with their defaults; throws for values that no optimizer can have. */
export function optimizerOf(options: OptimizerOptions = {}): Optimizer {
  for (const name of Object.keys(options)) assertKnown("training", "an option of the optimizer", name, Object.keys(DEFAULTS));
  const o: Optimizer = { ...DEFAULTS, ...options };
  assertKnown("training", "the optimizer's name", o.name, OPTIMIZERS);
  const must = (name: string, value: number, holds: boolean, rule: string): void => {
    if (!holds) throw new CogwheelError("training", `${name} must be ${rule}, got ${value}; leave it out for the default`);
  };
  must("lr", o.lr, o.lr >= 0 && o.lr < 1e3, "a number from 0");
  if (!Array.isArray(o.betas) || o.betas.length !== 2)
    throw new CogwheelError("training", `betas must be two numbers, got ${JSON.stringify(o.betas)}; leave them out for the default`);
  o.betas.forEach((beta, i) => void must(`betas[${i}]`, beta, beta >= 0 && beta < 1, "a number from 0 to below 1"));
  must("eps", o.eps, o.eps > 0 && o.eps < 1, "a number between 0 and 1");
  must("weightDecay", o.weightDecay, o.weightDecay >= 0 && o.weightDecay * o.lr < 1, "from 0, and below 1 / lr");
  must("bits", o.bits, o.bits === 8 || o.bits === 32, "8 or 32");
  must("momentum", o.momentum, o.momentum >= 0 && o.momentum < 1, "a number from 0 to below 1");
  return o;
}

export interface UpdateStep {
  /** Updates that were made so far: 0 for the first. */
  readonly update: number;
  /** The learning rate of this step. */
  readonly lr: number;
  /** The norm above which gradients are clipped; infinite for none. */
  readonly maxNorm: number;
  /** The factor of the loss that is differentiated. */
  readonly lossScale: number;
  /** The average's decay in this step, where one is kept. */
  readonly emaDecay: number;
}

/** Above every norm that f32 holds. */
const NO_CLIP = 3.4e38;

/** [16]: what the ops of an update read (`UPDATE`). */
export function updateSettings(o: Optimizer, { update, lr, maxNorm, lossScale, emaDecay }: UpdateStep): Float32Array<ArrayBuffer> {
  const settings = new Float32Array(UPDATE_VALUES);
  const set = (name: keyof typeof UPDATE, value: number): void => void (settings[UPDATE[name]] = value);
  const [beta1, beta2] = o.betas;
  const t = update + 1;
  set("maxNorm", Math.min(maxNorm, NO_CLIP));
  set("unscale", 1 / lossScale);
  set("keep", 1 - lr * o.weightDecay);
  set("firstRate", 1 - beta1);
  set("secondKeep", beta2);
  set("secondRate", 1 - beta2);
  set("root", 1 / Math.sqrt(1 - beta2 ** t));
  set("eps", o.eps);
  set("step", -lr / (1 - beta1 ** t));
  set("averageRate", 1 - emaDecay);
  set("momentumRate", 1 - o.momentum);
  set("matrixStep", -lr);
  return settings;
}

/** An average's decay after update `update`, from 0: with a warm-up, as averages of few values begin. */
export const emaDecay = (decay: number, update: number): number => Math.min(decay, (1 + update) / (10 + update));
