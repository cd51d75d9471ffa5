/** What is told of a run whose losses have come to an end. */
import { expect, test } from "vitest";
import { MOST_ONE_SIDED, MOST_SKIPPED, OneSided } from "../../src/cli/train/vae/one-sided.ts";
import type { VaeTrainingStep } from "../../src/training/vae/options.ts";

const step = (step: number, losses: Record<string, number>, more: Partial<VaeTrainingStep> = {}): VaeTrainingStep => ({
  ...{ step, steps: 1000, loss: 1, losses, clips: 1, gradNorm: 1, lr: 1, skipped: false, lossScale: 1, flops: 1, seconds: 1 },
  discriminator: { taken: true, gradNorm: 1, lossScale: 1 },
  ...more,
});
const toldOf = (of: (i: number) => VaeTrainingStep, count: number): [number, string][] => {
  const watched = new OneSided();
  return Array.from({ length: count }, (_, i) => watched.told(of(i)).map((text): [number, string] => [i + 1, text])).flat();
};

test("a discriminator that wins, and a weight at its bound, for 200 steps in a row, each once", () => {
  expect(MOST_ONE_SIDED).toBe(200);
  expect(toldOf((i) => step(i + 11, { discriminator: 1e-4, lambda: 3 }), 500)).toEqual([
    [200, expect.stringMatching(/^Since step 11 the discriminator's loss is 0: it tells clips apart always; lower discLr/)],
  ]);
  expect(toldOf((i) => step(i + 1, { discriminator: 0.5, lambda: 1e4 }), 200)).toEqual([
    [200, expect.stringMatching(/^Since step 1 the adversarial loss has its largest weight/)],
  ]);
  // One other step begins the count anew; a discriminator that is not asked wins nothing.
  expect(toldOf((i) => step(i, { discriminator: i === 150 ? 0.2 : 0, lambda: 1 }), 350)).toEqual([]);
  expect(toldOf((i) => step(i, {}, { discriminator: undefined } as never), 300)).toEqual([]);
});

test("steps that change nothing, sooner", () => {
  const skipped = { discriminator: { taken: false, gradNorm: Number.NaN, lossScale: 1 } };
  expect(toldOf((i) => step(i + 1, { discriminator: Number.NaN, lambda: 1 }, skipped), 200)).toEqual([
    [MOST_SKIPPED, expect.stringMatching(/^Since step 1 the discriminator's loss or gradients are not finite, and it learns nothing/)],
  ]);
  expect(toldOf((i) => step(i + 1, {}, { skipped: true }), 20)).toEqual([[20, expect.stringMatching(/^Since step 1 the VAE's gradients/)]]);
});
