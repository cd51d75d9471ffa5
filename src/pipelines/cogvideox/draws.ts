/** Where the random numbers of a run come from. */
import { TorchGenerator } from "../../diffusion/torch-random.ts";
import { elements } from "../../base/shape.ts";
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

  /** @param sample the one among several that this run makes: of draws for all of them it has its part */
  constructor(
    seed: number,
    private readonly sample: { readonly index: number; readonly of: number } = { index: 0, of: 1 },
  ) {
    this.#generator = new TorchGenerator(seed);
  }

  /** Those of all samples follow each other. */
  posterior(shape: readonly number[]): Float32Array {
    const { index, of } = this.sample;
    const draws = Array.from({ length: of }, () => this.#generator.randn([...shape]));
    return draws[index]!;
  }

  start(shape: readonly number[]): Float32Array {
    return this.#own(elements(shape));
  }

  /** This sample's values of a draw for all of them, which is one tensor. */
  #own(size: number): Float32Array {
    const { index, of } = this.sample;
    return this.#generator.randn([of * size]).subarray(index * size, (index + 1) * size);
  }

  /** A run that goes on draws what the steps before drew too, so that its own are the same; the last of a step's draws is used. */
  step(step: number, steps: readonly StepCoefficients[], size: number): Float32Array {
    let last: Float32Array = new Float32Array(0);
    for (; this.#steps <= step; this.#steps++) for (let d = 0; d < steps[this.#steps]!.draws; d++) last = this.#own(size);
    return last;
  }
}
