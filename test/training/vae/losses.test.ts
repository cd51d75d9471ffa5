/** Losses of a VAE's training by themselves: LPIPS of one frame of each clip, and a log-variance that the reconstruction counts by. */
import { describe, expect, test } from "vitest";
import { watch } from "../../../src/gradient/watch.ts";
import { Graph } from "../../../src/graph/graph.ts";
import { runGraph } from "../../../src/run/run-graph.ts";
import { drawsOf } from "../../../src/training/draws.ts";
import { LogVariance } from "../../../src/training/vae/log-variance.ts";
import { generatorInputs, generatorReport, LPIPS_PREFIX, recordGeneratorLosses } from "../../../src/training/vae/losses.ts";
import type { TrainVaeOptions } from "../../../src/training/vae/options.ts";
import type { PixelSample } from "../../../src/training/vae/sample.ts";
import { trainVae } from "../../../src/training/vae/train-vae.ts";
import { values } from "../../support/compare.ts";
import { testGpu } from "../../support/gpu.ts";
import { clips, judges, taken, tinyVae } from "../../support/vae-training.ts";

describe("LPIPS of one frame", { timeout: 120_000 }, () => {
  const { lpips } = judges();
  const PARTS = [3, 2];
  const CLIPS = 2;
  const weights = { l1: 0, mse: 0, perceptual: 0.5, kl: 0, disc: 0 };
  const sizes = { pixels: 1, latents: 1, pictures: PARTS.map((frames) => CLIPS * frames) };

  /** Distances, and gradients of both parts. */
  async function lossOf(frames?: readonly number[]) {
    const graph = new Graph("losses", () => "f32");
    const parts = PARTS.map((t, i) => {
      const shape = [CLIPS, t, 16, 16, 4];
      return { made: watch(graph.input(`made.${i}`, shape)), target: graph.input(`target.${i}`, shape) };
    });
    const options = { latents: 2, lpips: lpips.network, oneFrame: frames !== undefined };
    for (const [i, { gradient }] of recordGeneratorLosses(graph, parts, options).entries()) graph.output(`gradient.${i}`, gradient);
    const pixels = Object.fromEntries(
      PARTS.flatMap((t, i) => ["made", "target"].map((of, j) => [`${of}.${i}`, values(CLIPS * t * 16 * 16 * 4, 10 * i + j, 0.8)] as const)),
    );
    const own = { ...lpips.weights, stored: (name: string) => lpips.weights.stored(name.slice(LPIPS_PREFIX.length)) };
    const out = await runGraph(await testGpu(), graph, { ...pixels, ...generatorInputs(graph, sizes, weights, { frames }) }, own);
    return { out, report: generatorReport((name) => out[name], sizes, weights, { frames }) };
  }

  test("is that frame's distance and gradient: over all frames they come to those of all", async () => {
    const all = await lossOf();
    const T = 5;
    const sums = [0, 1].map((i) => new Float64Array(all.out[`gradient.${i}`]!.length));
    let distance = 0;
    for (let f = 0; f < T; f++) {
      const one = await lossOf([f, T - 1 - f]);
      distance += one.report.lpips! / T;
      for (const [i, sum] of sums.entries()) for (const [j, v] of one.out[`gradient.${i}`]!.entries()) sum[j]! += v / T;
    }
    expect(distance).toBeCloseTo(all.report.lpips!, 5);
    for (const [i, sum] of sums.entries()) {
      const want = all.out[`gradient.${i}`]!;
      const off = Math.hypot(...sum.map((v, j) => v - want[j]!)) / Math.hypot(...want);
      expect(off).toBeLessThan(1e-5);
    }
  });

  test("is drawn for each step of a run, the same by the same seed", async () => {
    const vae = await tinyVae();
    const [clip] = clips(vae, 1, [17, 16, 16]) as [PixelSample];
    const options: TrainVaeOptions = {
      ...{ lpips, steps: 3, seed: 5, latents: "mean", perceptualFrames: "one" },
      ...{ losses: { l1: 0, perceptual: 1 }, optimizer: { lr: 0 } },
    };
    await using run = trainVae(vae, [clip], options);
    const made = await run.reconstruct(clip);
    const { steps } = await taken(vae, [clip], options);
    const plane = 16 * 16;
    const frame = (pixels: Float32Array, t: number): PixelSample => ({
      ...clip,
      ...{
        frames: 1,
        pixels: Float32Array.from({ length: 3 * plane }, (_, i) => pixels[(Math.floor(i / plane) * 17 + t) * plane + (i % plane)]!),
      },
      moments: clip.moments!.slice(0, clip.moments!.length / 5),
    });
    for (const [i, { losses }] of steps.entries()) {
      const t = drawsOf(5, "frame", i, 0).below(17);
      expect(losses["lpips"]).toBeCloseTo((await run.distance(frame(clip.pixels, t), frame(made, t).pixels))!, 5);
    }
    expect(new Set(steps.map(({ losses }) => losses["lpips"])).size).toBeGreaterThan(1);
  });
});

test("both come to the same by batches of frames as in one graph", async () => {
  const vae = await tinyVae();
  const data = clips(vae, 2, [17, 16, 16]);
  const step = async (passes: "whole" | "batches", perceptualFrames: "all" | "one") => {
    const { steps } = await taken(vae, data, {
      ...{
        lpips: judges().lpips,
        steps: 2,
        batch: 2,
        seed: 3,
        latents: "mean",
        part: "both",
        maxGradNorm: Infinity,
        passes,
        perceptualFrames,
      },
      ...{ logVariance: { start: -1, learn: true }, losses: { perceptual: 1 }, optimizer: { lr: 1e-3 } },
    });
    return steps;
  };
  const [whole, batches, all] = [await step("whole", "one"), await step("batches", "one"), await step("batches", "all")];
  for (const [i, { losses, gradNorm }] of batches.entries()) {
    expect(gradNorm / whole[i]!.gradNorm).toBeCloseTo(1, 4);
    for (const [name, value] of Object.entries(losses)) expect(value, name).toBeCloseTo(whole[i]!.losses[name]!, 5);
    expect(losses["lpips"]).not.toBe(all[i]!.losses["lpips"]);
  }
}, 120_000);

describe("a log-variance", { timeout: 120_000 }, () => {
  test("divides the reconstruction's gradient and is added to its loss", async () => {
    const vae = await tinyVae();
    const data = clips(vae, 1, [1, 8, 8]);
    const step = async (more: TrainVaeOptions) => {
      const { steps } = await taken(vae, data, { steps: 1, latents: "mean", maxGradNorm: Infinity, ...more });
      return steps[0]!;
    };
    const [plain, fixed] = [await step({}), await step({ logVariance: { start: -1.5 } })];
    expect(fixed.gradNorm / plain.gradNorm).toBeCloseTo(Math.exp(1.5), 4);
    const rec = plain.losses["rec"]!;
    expect(fixed.losses).toMatchObject({ rec, logvar: -1.5 });
    expect(fixed.loss).toBeCloseTo(rec * Math.exp(1.5) - 1.5, 5);
    expect(plain.losses["nll"]).toBeUndefined();
    await expect(step({ logVariance: { start: Number.NaN } })).rejects.toThrow(/a log-variance must be a number from −30 to 30, got NaN/);
  });

  test("that is learnt moves as AdamW moves it, to the logarithm of the loss, and goes on after a break", async () => {
    const one = new LogVariance({ learn: true }, { betas: [0.9, 0.95], eps: 1e-8 });
    one.update(0.2, 0.01);
    expect(one.value).toBeCloseTo(-0.01, 9);
    for (let i = 0; i < 1000; i++) one.update(0.2, 0.01);
    expect(one.value).toBeCloseTo(Math.log(0.2), 2);
    const vae = await tinyVae();
    const data = clips(vae, 2, [1, 8, 8]);
    const options: TrainVaeOptions = { steps: 4, logVariance: { start: -1, learn: true }, optimizer: { lr: 0.01 } };
    const whole = await taken(vae, data, options);
    const told = whole.steps.map(({ losses }) => losses["logvar"]!);
    expect(told[0]).toBe(-1);
    expect(told.every((v, i) => i === 0 || v !== told[i - 1])).toBe(true);
    const first = await taken(vae, data, options, 2);
    expect((await taken(vae, data, { ...options, resume: first.saved })).saved).toEqual(whole.saved);
  });
});
