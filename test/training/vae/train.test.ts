/** `trainVae` on a tiny VAE: it learns, in any part, and however a run is broken off to the same result. */
import { describe, expect, test } from "vitest";
import { openSafetensors } from "../../../src/files/safetensors.ts";
import { vaeWeights } from "../../../src/models/vae/batches.ts";
import { parseDiscriminatorConfig } from "../../../src/models/discriminator/config.ts";
import { parseVaeConfig } from "../../../src/models/vae/config.ts";
import { CausalVae } from "../../../src/models/vae/model.ts";
import { memorySource } from "../../../src/sources/memory.ts";
import { cropped } from "../../../src/training/vae/crop.ts";
import { flicker, psnr, ssim } from "../../../src/training/vae/measures.ts";
import type { TrainVaeOptions, VaeTrainingStep } from "../../../src/training/vae/options.ts";
import type { PixelSample } from "../../../src/training/vae/sample.ts";
import { trainVae } from "../../../src/training/vae/train-vae.ts";
import { values } from "../../support/compare.ts";
import { memoryWeights } from "../../support/gpu.ts";
import { TINY_CONFIGS } from "../../support/tiny-checkpoint.ts";
import { clips, stopped, taken, tinyVae } from "../../support/vae-training.ts";

describe("a crop", () => {
  const config = parseVaeConfig(TINY_CONFIGS.vae);
  const size = { frames: 1, height: 24, width: 32 };
  // Every value says where it is.
  const pixels = Float32Array.from({ length: 3 * 24 * 32 }, (_, i) => i);
  const moments = Float32Array.from({ length: 2 * config.latent_channels * 3 * 4 }, (_, i) => i);

  test.each<[string, PixelSample, number]>([
    ["anywhere", { ...size, pixels }, 9 * 17],
    ["at whole latents, with their moments", { ...size, pixels, moments }, 2 * 3],
  ])("is a window %s, each as often", (_, sample, places) => {
    const seen = new Map<string, number>();
    for (let step = 0; step < 20 * places; step++) {
      const cut = cropped(sample, 16, config, { seed: 1, step, index: 0 });
      expect([cut.frames, cut.height, cut.width, cut.pixels.length]).toEqual([1, 16, 16, 3 * 16 * 16]);
      const [y, x] = [Math.floor(cut.pixels[0]! / 32), cut.pixels[0]! % 32];
      for (const [c, row, column] of [
        [0, 15, 0],
        [1, 3, 7],
        [2, 15, 15],
      ] as const)
        expect(cut.pixels[(c * 16 + row) * 16 + column]).toBe((c * 24 + y + row) * 32 + x + column);
      if (sample.moments) {
        expect(cut.moments).toHaveLength(2 * config.latent_channels * 4);
        expect(cut.moments!.at(-1)).toBe(moments.length - 12 + (y / 8 + 1) * 4 + x / 8 + 1);
      }
      seen.set(`${y} ${x}`, (seen.get(`${y} ${x}`) ?? 0) + 1);
    }
    expect(seen.size).toBe(places);
    expect(Math.max(...seen.values())).toBeLessThan(60);
  });
});

const mean = (steps: readonly VaeTrainingStep[]): number => steps.reduce((sum, { losses }) => sum + losses["l1"]!, 0) / steps.length;

describe("losses fall", { timeout: 120_000 }, () => {
  test.each<[string, readonly [number, number, number], TrainVaeOptions]>([
    ["the decoder's", [9, 8, 8], { part: "decoder" }],
    ["the encoder's", [1, 16, 16], { part: "encoder", latents: "mean", optimizer: { lr: 0.02 } }],
    ["both's, from scratch, norms over whole clips", [9, 8, 8], { part: "both", scratch: true, statistics: "clip" }],
  ])("of %s", async (_, size, options) => {
    const vae = await tinyVae();
    const optimizer = { lr: 0.01 };
    const { steps } = await taken(vae, clips(vae, 4, size), { steps: 16, batch: 2, seed: 1, optimizer, ...options });
    expect(mean(steps.slice(12))).toBeLessThan((options.part === "encoder" ? 0.9 : 0.8) * mean(steps.slice(0, 4)));
    expect(steps.every(({ gradNorm, skipped, clips }) => gradNorm > 0 && !skipped && clips === 2)).toBe(true);
    if (options.part !== "decoder") expect(steps[0]!.losses["kl"]).toBeGreaterThan(0);
  });
});

describe("the same bytes", { timeout: 120_000 }, () => {
  const hard: TrainVaeOptions = {
    part: "both",
    accumulation: 2,
    seed: 7,
    ema: { decay: 0.9 },
    schedule: { name: "cosine", warmupSteps: 1 },
    optimizer: { lr: 0.01 },
    losses: { kl: 1e-3 },
  };

  test("when a run in stages stops and goes on, with any checkpointing", async () => {
    const vae = await tinyVae();
    const [small, long] = [clips(vae, 3, [1, 8, 8]), clips(vae, 3, [17, 8, 8])];
    const options: TrainVaeOptions = {
      ...hard,
      stages: [
        { steps: 2, data: small, batch: 2 },
        { steps: 3, data: long, lr: 0.002, losses: { kl: 1e-2 } },
      ],
    };
    const whole = await taken(vae, small, options);
    expect(whole.steps.map(({ stage, lr }) => [stage, lr])).toMatchObject([
      [1, 0.01],
      [1, 0.01],
      [2, 0.002],
      [2, 0.002],
      [2, 0.001],
    ]);
    const first = await taken(vae, small, { ...options, checkpointing: "none" }, 3);
    expect((await taken(vae, small, { ...options, resume: first.saved })).saved).toEqual(whole.saved);
  });

  test("of clips that are loaded late, and a run that goes on loads none that it has learned from", async () => {
    const vae = await tinyVae();
    const data = clips(vae, 4);
    let loads = 0;
    const late = data.map((clip) => ({
      ...{ frames: clip.frames, height: clip.height, width: clip.width },
      load: async () => {
        loads++;
        return clip;
      },
    }));
    const options: TrainVaeOptions = { ...hard, part: "decoder", steps: 3, losses: {} };
    const whole = await taken(vae, data, options);
    const first = await taken(vae, late, options, 2);
    expect(loads).toBe(4);
    expect((await taken(vae, late, { ...options, resume: first.saved })).saved).toEqual(whole.saved);
    expect(loads).toBe(6);
    const other = late.map((clip) => ({ ...clip, height: 16 }));
    await expect(taken(vae, other, options)).rejects.toThrow(/must be of the sizes that were told, 9 frames of 8 × 16, got 9 of 8 × 8/);
  });

  test.each(["both", "decoder"] as const)("of crops, when a run stops and goes on: %s", async (part) => {
    const vae = await tinyVae();
    const data = clips(vae, 3, [9, 16, 16]);
    const options: TrainVaeOptions = { part, steps: 3, seed: 7, optimizer: { lr: 0.01 } };
    const whole = await taken(vae, data, { ...options, crop: 8 });
    const first = await taken(vae, data, { ...options, crop: 8 }, 2);
    expect((await taken(vae, data, { ...options, crop: 8, resume: first.saved })).saved).toEqual(whole.saved);
    const uncut = await taken(vae, data, options);
    expect(whole.steps[0]!.flops).toBeLessThan(uncut.steps[0]!.flops);
    expect(whole.steps[0]!.loss).not.toBe(uncut.steps[0]!.loss);
    // A stage of crops that are all of a clip is one of clips.
    const { steps } = await taken(vae, data, { part, seed: 7, optimizer: { lr: 0.01 }, stages: [{ steps: 3, crop: 16 }] });
    expect(steps.map(({ loss }) => loss)).toEqual(uncut.steps.map(({ loss }) => loss));
    await expect(taken(vae, data, { ...options, crop: 12 })).rejects.toThrow("a crop must have sides of a multiple of 8 pixels, got 12");
    await expect(taken(vae, data, { ...options, crop: 24 })).rejects.toThrow(
      "a crop of 24 × 24 pixels must lie within the clip, got 16 × 16; take larger clips, or a smaller crop",
    );
  });

  test.each([false, true])("when a run is stopped in the middle of a step and goes on; while the device works: %s", async (later) => {
    const vae = await tinyVae();
    const data = clips(vae, 3, [1, 8, 8]);
    const options: TrainVaeOptions = { part: "decoder", steps: 3, seed: 7, optimizer: { lr: 0.01 } };
    const whole = await taken(vae, data, options);
    const saved = await stopped(vae, data, options, 2, later);
    expect((await taken(vae, data, { ...options, resume: saved })).saved).toEqual(whole.saved);
  });

  test("a reconstruction is what the published VAE makes of the trained weights", async () => {
    const vae = await tinyVae();
    const data = clips(vae, 2, [17, 8, 8]);
    await using run = trainVae(vae, data, { ...hard, part: "both", steps: 2, ema: { decay: 0.5 } });
    for await (const _ of run);
    const made = await run.reconstruct(data[0]!);
    const files = await run.files();
    const path = "diffusion_pytorch_model.safetensors";
    const file = await openSafetensors(memorySource({ [path]: files[path]! }), path);
    expect([...file.tensors.keys()].sort()).toEqual([...vaeWeights(vae.config).keys()].sort());
    const tensors: Record<string, { data: Float32Array; shape: readonly number[] }> = {};
    for (const [name, { shape }] of file.tensors) {
      const { bytes } = await file.read(name);
      tensors[name] = { shape, data: new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4) };
    }
    const config = parseVaeConfig(JSON.parse(new TextDecoder().decode(files["config.json"])));
    using again = CausalVae.create(vae.gpu, config, memoryWeights(tensors));
    const posterior = await again.encode(data[0]!.pixels, { batch: 1, frames: 17, height: 8, width: 8 });
    const { data: want } = await again.decode(posterior.mean, { batch: 1, frames: 5, height: 1, width: 1 });
    expect(psnr(made, want)).toBeGreaterThan(90);
  });
});

describe("refused", () => {
  test.each<[string, TrainVaeOptions, RegExp]>([
    ["no steps", {}, /steps must be a whole number from 1, got NaN/],
    ["a part that is none", { steps: 1, part: "norms" as never }, /part must be decoder or encoder or both, got "norms"/],
    ["a loss that is none", { steps: 1, losses: { l2: 1 } as never }, /a loss must be l1 or mse or perceptual or kl or disc/],
    ["a negative weight", { stages: [{ steps: 1, losses: { kl: -1 } }] }, /stage 1: what kl counts must be a number from 0, got -1/],
    [
      "no loss of what is reconstructed",
      { steps: 1, losses: { l1: 0 } },
      /a loss of what is reconstructed must count, got l1 0 and no other/,
    ],
    [
      "a discriminator that never begins",
      { steps: 2, losses: { disc: 1 }, discriminator: { config: parseDiscriminatorConfig({ ndf: 4 }, "d"), start: 2 } },
      /a discriminator must begin before the run's end, got step 2 of 2/,
    ],
    ["another sum of steps", { steps: 2, stages: [{ steps: 1 }] }, /a run has the steps of its stages, 1, got steps 2/],
  ])("%s", async (_, options, message) => {
    const vae = await tinyVae();
    await expect(taken(vae, clips(vae, 1), options)).rejects.toThrow(message);
  });

  test("clips of a length that does not come back, of other sides, without moments", async () => {
    const vae = await tinyVae();
    const [clip] = clips(vae, 1) as [PixelSample];
    const give = (change: Partial<PixelSample>) => taken(vae, [{ ...clip, ...change } as PixelSample], { steps: 1 });
    await expect(give({ frames: 5 })).rejects.toThrow(/sample 1 of epoch 1: a VAE learns from clips of 8·k \+ 1 frames, got 5/);
    await expect(give({ width: 12 })).rejects.toThrow(/sides must be multiples of 8 pixels, got 9 frames of 12 × 8/);
    await expect(give({ moments: undefined } as never)).rejects.toThrow(/a decoder is trained on what the encoder gives, got no moments/);
  });
});

test("measures: PSNR of a known error, SSIM of equal, shifted and noisy pictures, flicker of a still and of a blink", () => {
  const size = { frames: 2, height: 16, width: 20 };
  const a = values(3 * 2 * 16 * 20, 1, 0.5);
  expect(psnr(a, a)).toBe(Infinity);
  expect(psnr(new Float32Array(100), new Float32Array(100).fill(0.2))).toBeCloseTo(20, 5);
  expect(ssim(a, a, size)).toBeCloseTo(1, 12);
  // Constant pictures: (2pq + C1) / (p² + q² + C1).
  const [p, q] = [new Float32Array(640).fill(0.5), new Float32Array(640).fill(0.25)];
  expect(ssim(p, q, size)).toBeCloseTo((2 * 0.125 + 4e-4) / (0.25 + 0.0625 + 4e-4), 6);
  expect(
    ssim(
      a,
      a.map((v, i) => v + 0.2 * Math.sin(i)),
      size,
    ),
  ).toBeLessThan(0.95);
  expect(flicker(new Float32Array(640).fill(0.3), size)).toBe(0);
  expect(
    flicker(
      Float32Array.from({ length: 640 }, (_, i) => (i < 320 ? 0 : 2 / 255)),
      size,
    ),
  ).toBeCloseTo(1, 5);
});
