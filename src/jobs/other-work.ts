/** What a worker serves, and what it does beside jobs. */
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { Hint } from "./backend.ts";

/** A model that a worker serves. */
export interface WorkerModel {
  /** What requests call it. */
  readonly name: string;
  /**
   * Opens it, with the weights of the stages that the worker does; again, with `keep` false, where the adapter has too little memory for
   * what is kept between jobs.
   * @param keep whether its parts stay on the adapter
   */
  open(keep: boolean): Promise<CogVideoX>;
  /** How its weights are stored where they are quantized (q8, q4); the model's own type otherwise. */
  readonly stored?: string;
}

/** Work of another kind than jobs, which hints of the queue name too. */
export interface OtherWork {
  /** Its hints begin so. */
  readonly prefix: string;
  /**
   * Does what a hint names, with the models that are open, or leaves it to others.
   * @param makeRoom frees what other work keeps on the adapter: to be called before it is used
   */
  take(hint: Hint, models: readonly OpenModel[], signal: AbortSignal, makeRoom: () => void): Promise<void>;
  /** Frees what it has on the adapter between hints. */
  release(): void;
}

/** A model that a worker has open. */
export interface OpenModel {
  readonly served: Pick<WorkerModel, "name" | "stored">;
  readonly model: CogVideoX;
}
