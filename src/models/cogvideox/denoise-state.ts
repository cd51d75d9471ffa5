/** What a run of denoising has reached. */
import type { Task } from "./task.ts";

/** The latents of a run after some of its steps: enough to go on from there. */
export interface DenoiseState {
  /** Steps that are done. */
  readonly step: number;
  /** [n, F, C, H, W] */
  readonly latents: Float32Array;
  /** DPM: the clean latents as they looked in the last step. */
  readonly original?: Float32Array;
  /** [n, F, C2, H, W]: the image's, control video's or masked video's latents that every step sees. */
  readonly condition?: Float32Array;
  /** The starting noise was given, not drawn from the seed: the draws of the steps are the seed's first. */
  readonly givenNoise?: boolean;
  /** What the run began from; its steps follow from it. */
  readonly task?: Task;
}
