/** Values to begin with where a model is trained from scratch. Each weight has draws of its own: what else is trained does not change them. */
import { elements } from "../base/shape.ts";
import { drawsOf } from "./draws.ts";
import type { Parameter, Trained } from "./parameters.ts";

export interface Scratch {
  readonly seed: number;
  /** By state-dict name, with their shapes. */
  readonly weights: ReadonlyMap<string, readonly number[]>;
  /** Weights and biases that begin with zeros. Default: none. */
  readonly zero?: (name: string) => boolean;
}

/**
 * Begins with drawn values in place of the checkpoint's, as torch's modules do: norms with 1 and 0, linear layers and convolutions, and
 * their biases, uniform within ±1/√(what an output is a sum of).
 */
export const fromScratch = (trained: Trained, scratch: Scratch): Trained => ({
  ...trained,
  initial: (parameter) => drawn(parameter, scratch),
});

/** @param names of one tensor: such as of q, k and v, which have the same number of inputs and lie below each other */
function drawn({ name, names, shape }: Parameter, { seed, weights, zero }: Scratch): Float32Array {
  const size = elements(shape);
  if (names.every((one) => zero?.(one))) return new Float32Array(size);
  const weight = weights.get(names[0]!.replace(/\.bias$/, ".weight"))!;
  if (weight.length === 1) return new Float32Array(size).fill(name.endsWith(".weight") ? 1 : 0);
  const bound = 1 / Math.sqrt(elements(weight.slice(1)));
  return drawsOf(seed, `initial ${name}`).generator.uniform([size], -bound, bound);
}

/**
 * What begins with zeros in a transformer: each block adds nothing at first, whatever the timestep, and the output is zero (AdaLN-Zero;
 * Peebles and Xie, Scalable Diffusion Models with Transformers, 2023, section 3.2; so do SAT's blocks for CogVideoX).
 */
export const zeroAtFirst = (name: string): boolean => /(?:^|\.)(?:norm1|norm2|norm_out)\.linear\.|^proj_out\./.test(name);
