/** Where the random numbers of a run come from. */
import { TorchGenerator } from "../../diffusion/torch-random.ts";
import type { StepCoefficients } from "../../diffusion/scheduler.ts";

/** A run asks in this order, in which diffusers' pipelines draw. */
export interface Draws {
  /** For the posterior of each sample's image or video. */
  posterior(shape: readonly number[]): Float32Array;
  /** The starting noise. */
  start(shape: readonly number[]): Float32Array;
  /** The sampler's in step `step`, of `size` values. */
  step(step: number, steps: readonly StepCoefficients[], size: number): Float32Array;
}

/** torch's CPU generator from a seed: one sequence for all. */
export class SeededDraws implements Draws {
  readonly #generator: TorchGenerator;
  #steps = 0;

  constructor(seed: number) {
    this.#generator = new TorchGenerator(seed);
  }

  posterior(shape: readonly number[]): Float32Array {
    return this.#generator.randn([...shape]);
  }

  start(shape: readonly number[]): Float32Array {
    return this.#generator.randn([...shape]);
  }

  /** A run that goes on draws what the steps before drew too, so that its own are the same; the last of a step's draws is used. */
  step(step: number, steps: readonly StepCoefficients[], size: number): Float32Array {
    let last: Float32Array = new Float32Array(0);
    for (; this.#steps <= step; this.#steps++) for (let d = 0; d < steps[this.#steps]!.draws; d++) last = this.#generator.randn([size]);
    return last;
  }
}
