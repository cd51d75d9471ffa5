/** A tiny VAE, clips and networks that judge, for tests of the VAE's training. */
import { expect } from "vitest";
import { elements } from "../../src/base/shape.ts";
import { parseDiscriminatorConfig } from "../../src/models/discriminator/config.ts";
import { lpipsNetwork } from "../../src/models/lpips/layers.ts";
import { encodedFrames } from "../../src/models/vae/batches.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import type { TrainableVae, TrainVaeOptions, VaeTrainingStep } from "../../src/training/vae/options.ts";
import type { GivenPixels, PixelSample } from "../../src/training/vae/sample.ts";
import { trainVae } from "../../src/training/vae/train-vae.ts";
import { values } from "./compare.ts";
import { memoryWeights, testGpu } from "./gpu.ts";
import { TINY_CONFIGS, tinyWeights } from "./tiny-checkpoint.ts";

/** The tiny VAE, ready to be trained. */
export async function tinyVae(): Promise<TrainableVae> {
  const weights = tinyWeights("vae", 1, TINY_CONFIGS.vae);
  return {
    gpu: await testGpu(),
    config: parseVaeConfig(TINY_CONFIGS.vae),
    weights: memoryWeights(Object.fromEntries(weights)),
  };
}

/** Smooth clips, each of a colour of its own, with moments that tell them apart. */
export function clips(
  { config: c }: TrainableVae,
  count: number,
  [frames, height, width]: readonly [number, number, number] = [9, 8, 8],
): PixelSample[] {
  const size = 2 * c.latent_channels * encodedFrames(c, frames) * (height / 8) * (width / 8);
  return Array.from({ length: count }, (_, n) => ({
    pixels: Float32Array.from({ length: 3 * frames * height * width }, (_, i) => 0.6 * Math.sin(n + i / (frames * height * width))),
    moments: values(size, 50 + n, 1).map((v, i) => (i < size / 2 ? v : -3)),
    frames,
    height,
    width,
  }));
}

/** Every step of a run, until one, and what it is saved as. */
export async function taken(vae: TrainableVae, data: readonly GivenPixels[], options: TrainVaeOptions, until = Infinity) {
  await using run = trainVae(vae, data, options);
  const steps: VaeTrainingStep[] = [];
  for await (const step of run) {
    steps.push(step);
    if (step.step === until) break;
  }
  return { steps, saved: await run.save() };
}

/** LPIPS on VGG16's layers with four channels each, and a discriminator of three convolutions. */
export function judges(n_layers = 1) {
  const convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
  const tensors: Record<string, { data: Float32Array; shape: readonly number[] }> = {};
  for (const [i, at] of convolutions.entries()) {
    const shape = [4, i ? 4 : 3, 3, 3];
    tensors[`net.features.${at}.weight`] = { shape, data: values(elements(shape), 300 + i, 0.4) };
    tensors[`net.features.${at}.bias`] = { shape: [4], data: values(4, 400 + i, 0.1) };
  }
  for (let k = 0; k < 5; k++) tensors[`lin${k}.model.1.weight`] = { shape: [1, 4, 1, 1], data: values(4, 500 + k, 1).map(Math.abs) };
  return {
    lpips: { network: lpipsNetwork((name) => tensors[name]?.shape), weights: memoryWeights(tensors) },
    discriminator: { config: parseDiscriminatorConfig({ ndf: 4, n_layers }, "d"), start: 2, lr: 0.01 },
  };
}

/**
 * What a run is saved as that is stopped in the middle of a step: when it reads pixels for the last time, which inputs are made of, or
 * shortly after. The step before it must read as often: both are of one epoch.
 */
export async function stopped(
  vae: TrainableVae,
  data: readonly PixelSample[],
  options: TrainVaeOptions,
  step: number,
  shortlyAfter = false,
) {
  const controller = new AbortController();
  let [reads, last] = [0, Infinity];
  const told = data.map(({ pixels, ...clip }) => ({
    ...clip,
    get pixels() {
      if (++reads === last) {
        if (shortlyAfter) setImmediate(() => controller.abort());
        else controller.abort();
      }
      return pixels;
    },
  }));
  await using run = trainVae(vae, told, { ...options, signal: controller.signal });
  const steps = run[Symbol.asyncIterator]();
  for (let i = 1; i < step; i++) {
    reads = 0;
    await steps.next();
  }
  [reads, last] = [0, reads];
  expect((await steps.next()).value?.step).toBe(step);
  expect(controller.signal.aborted).toBe(true);
  if (step < options.steps!) await expect(steps.next()).rejects.toBe(controller.signal.reason);
  return await run.save();
}
