/**
 * Random numbers of a run. Every draw has a generator of its own, seeded by what it is for: the run's seed, a purpose, the step, the clip.
 * So a draw does not depend on those before it: a run that goes on after a break draws what it would have drawn, and it does not matter
 * which device draws.
 */
import { TorchGenerator } from "../diffusion/torch-random.ts";

/** A run's seed: a whole number. */
export type DrawKey = number;

/** A generator for one purpose, such as the noise of a clip in a step. */
export function drawsOf(seed: DrawKey, purpose: string, ...numbers: readonly number[]): RunDraws {
  return new RunDraws(new TorchGenerator(hash(`${seed} ${purpose} ${numbers.join(" ")}`)));
}

export class RunDraws {
  constructor(readonly generator: TorchGenerator) {}

  /** Uniform in [0, 1). */
  uniform(): number {
    return this.generator.random() * 2 ** -32;
  }

  /** A whole number from 0 to below n ≤ 2³², each as likely: draws that would favour some are drawn again. */
  below(n: number): number {
    const most = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const value = this.generator.random();
      if (value < most) return value % n;
    }
  }

  /** 0 to n − 1 in a random order (Fisher–Yates). */
  permutation(n: number): number[] {
    const order = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }
}

/** 32 bits of a text: FNV-1a, then murmur3's last mixing, for texts that differ in a digit. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
