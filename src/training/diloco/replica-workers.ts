/** Rounds of replicas, and who takes them: the device of the run, or workers. */
import type { MicroBatch } from "../micro-batch.ts";
import type { GradientRecipe } from "../micro-workers.ts";
import type { Optimizer } from "../optimizer.ts";
import type { StepReport, TrainerProgress } from "../trainer.ts";
import type { Exchanged, ExchangeKind } from "./exchange.ts";

/** `kept`: a replica's optimizer goes on from round to round; `fresh`: it begins each anew. */
export const INNER_STATES = ["kept", "fresh"] as const;

/** What a replica's steps are, as JSON says it; the model apart. */
export interface ReplicaRecipe extends GradientRecipe {
  readonly optimizer: Optimizer;
  /** Left out for no clipping. */
  readonly maxGradNorm?: number;
  readonly accumulation: number;
  readonly exchange: ExchangeKind;
  readonly innerState: (typeof INNER_STATES)[number];
}

/** An optimizer's states by name; one that is not there begins with zeros. */
export type InnerStates = ReadonlyMap<string, Float32Array | Uint32Array>;

export interface ReplicaTask {
  readonly progress: TrainerProgress;
  readonly states: InnerStates;
  /** For each step what makes the batches of its micro-steps: they are made when they are used. */
  readonly steps: readonly (() => Promise<readonly MicroBatch[]>)[];
  /** The learning rate by updates that were made in the round: a step that is not taken does not count. */
  readonly rates: readonly number[];
}

/** A step of a replica. */
export interface ReplicaStep extends StepReport {
  /** Of each clip of each micro-step. */
  readonly timesteps: readonly (readonly number[])[];
  readonly lr: number;
}

export interface ReplicaRound {
  readonly steps: readonly ReplicaStep[];
  /** What parameters came to, by the names of their states. */
  readonly parameters: ReadonlyMap<string, Exchanged>;
  readonly progress: TrainerProgress;
  /** Of the optimizer; none where it begins each round anew. */
  readonly states: InnerStates;
}

/** Who takes the rounds of the replicas. */
export interface ReplicaWorkers {
  /** Told once, before the first round. */
  open(recipe: ReplicaRecipe): Promise<void>;
  /** Begins a round. @param outer weights that each replica begins with, by the names of their states */
  begin(outer: ReadonlyMap<string, Float32Array>, tasks: readonly ReplicaTask[]): Promise<void>;
  /** What a replica's round came to; waits until it is there. */
  result(replica: number, signal?: AbortSignal): Promise<ReplicaRound>;
  /** Bytes that this side gave and took since the round began. */
  readonly moved: { readonly sent: number; readonly received: number };
}
