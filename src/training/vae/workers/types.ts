/** Workers that share the clips of a VAE's training in time, wherever they are: what each is told and gives. */
import type { VaeConfig } from "../../../models/vae/config.ts";
import type { LpipsNetwork } from "../../../models/lpips/layers.ts";
import type { WorkerReport } from "../../../models/vae/split/run.ts";
import type { TrainedPart } from "../record.ts";

/** What workers are of, as JSON says it. */
export interface PieceRecipe {
  readonly config: VaeConfig;
  readonly dtype: "f32" | "f16";
  readonly part: TrainedPart;
  readonly lpips?: LpipsNetwork;
}

/** Clips of one size, over so many workers, and which losses are asked of them. */
export interface PieceClip {
  readonly clips: number;
  readonly frames: number;
  readonly height: number;
  readonly width: number;
  readonly workers: number;
  readonly lpips: boolean;
  /** Is there a discriminator, which wants the clip before gradients begin? */
  readonly judged: boolean;
}

/** What runs: forward alone, forward and backward from losses, or from a gradient that is given. */
export type PieceProgram = "encode" | "encode back" | "decode" | "decode losses" | "decode back";

export interface PieceWork {
  readonly clip: PieceClip;
  readonly program: PieceProgram;
  /** Which run it is, for the names of what workers hand each other. */
  readonly turn: number;
}

export interface PieceResult {
  readonly outputs: ReadonlyMap<string, Float32Array>;
  /** Of this run. */
  readonly report: WorkerReport;
  readonly flops: number;
}

/** A weight in f32, and the type that it is computed in. */
export interface PieceWeight {
  readonly data: Float32Array;
  readonly shape: readonly number[];
  readonly type: "f32" | "f16";
}

export interface PieceWorkers extends Disposable {
  readonly count: number;
  /** Gives all of them weights that are new or have changed. @param recipe what they are of, the same each time */
  give(recipe: PieceRecipe, weights: ReadonlyMap<string, PieceWeight>): Promise<void>;
  /** Runs all of them at once. @param inputs of each, by the names in its graph */
  run(work: PieceWork, inputs: readonly Readonly<Record<string, Float32Array>>[], signal?: AbortSignal): Promise<readonly PieceResult[]>;
}
