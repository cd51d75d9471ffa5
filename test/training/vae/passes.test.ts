/** `trainVae` by batches of frames: as in one graph, stopped or not; and what it is planned to take. */
import { expect, test } from "vitest";
import { parseVaeConfig } from "../../../src/models/vae/config.ts";
import { vaeTrainingNeeds } from "../../../src/training/vae/needs.ts";
import { LOSS_WEIGHTS, type TrainVaeOptions } from "../../../src/training/vae/options.ts";
import { trainVae } from "../../../src/training/vae/train-vae.ts";
import { relativeL2 } from "../../support/compare.ts";
import { testGpu } from "../../support/gpu.ts";
import { clips, judges, taken, tinyVae } from "../../support/vae-training.ts";

test("a run with LPIPS and a discriminator has the losses of one graph, and the same bytes when it goes on", {
  timeout: 120_000,
}, async () => {
  const vae = await tinyVae();
  const data = clips(vae, 2, [17, 16, 16]);
  const options = (passes: "batches" | "whole"): TrainVaeOptions => ({
    ...judges(),
    ...{ part: "both", steps: 3, batch: 2, seed: 3, ema: { decay: 0.5 }, optimizer: { lr: 1e-3 }, passes },
    losses: { perceptual: 0.5, disc: 0.2, kl: 1e-3 },
  });
  /** Looked at after its second step, which leaves the sizes of its steps for another. */
  const looked = async (passes: "batches" | "whole") => {
    await using run = trainVae(vae, data, options(passes));
    const steps = [];
    let [saved, made]: [Uint8Array, Float32Array] = [new Uint8Array(), new Float32Array()];
    for await (const step of run)
      if (steps.push(step) === 2) {
        [saved, made] = [await run.save(), await run.reconstruct(data[0]!)];
        expect(await run.distance(data[0]!, made)).toBeGreaterThan(0);
      }
    return { steps, saved, made, end: await run.save() };
  };
  const [batches, whole] = [await looked("batches"), await looked("whole")];
  expect(relativeL2(batches.made, whole.made)).toBeLessThan(1e-5);
  for (const [i, { losses, gradNorm, discriminator }] of whole.steps.entries()) {
    const got = batches.steps[i]!;
    expect(Object.keys(got.losses)).toEqual(Object.keys(losses));
    for (const [name, loss] of Object.entries(losses)) expect(got.losses[name]! / loss, `${name} of step ${i + 1}`).toBeCloseTo(1, 4);
    expect(got.gradNorm / gradNorm).toBeCloseTo(1, 4);
    if (discriminator) expect(got.discriminator!.gradNorm / discriminator.gradNorm).toBeCloseTo(1, 3);
  }
  expect((await taken(vae, data, { ...options("batches"), resume: batches.saved })).saved).toEqual(batches.end);
});

test("norms over a whole clip have all of it at once", async () => {
  const vae = await tinyVae();
  await expect(taken(vae, clips(vae, 1), { steps: 1, statistics: "clip", passes: "batches" })).rejects.toThrow(
    /^\[training\] norms over a whole clip need all of it at once, got statistics clip with passes batches/,
  );
});

test("the published VAE, both halves, is planned within 6 GB at 17 frames of 256 × 256, and within the same at 161", async () => {
  // The limits of a GPU: this machine's own may cut the work otherwise.
  const limits = { kind: "hardware" as const, f16: true, maxBindingBytes: 2 ** 31, maxBufferBytes: 2 ** 32 };
  const model = { config: parseVaeConfig({}), weights: { type: () => "f16" as const }, caps: { ...(await testGpu()).caps, ...limits } };
  const options: TrainVaeOptions = { steps: 1, part: "both", dtype: "f16", optimizer: { bits: 8 } };
  const needs = (frames: number, other: Partial<TrainVaeOptions> = {}) =>
    vaeTrainingNeeds(model, { ...options, ...other }, { clips: 1, frames, height: 256, width: 256 }, LOSS_WEIGHTS);
  const [short, long] = [needs(17), needs(161)];
  expect([short.passes, long.passes]).toEqual(["batches", "batches"]);
  expect(short.total).toBeLessThan(6e9);
  // With 32-bit means in the host's memory, of which two are as large as what is trained.
  const aside = needs(17, { offload: true, optimizer: { bits: 32 } });
  expect(aside.total).toBeLessThan(6e9);
  expect(aside.host - short.host).toBe(2 * short.parameters);
  expect(long.total).toBeLessThan(1.05 * short.total);
  // 19 boundaries of the encoder, 18 of the decoder, whose last is read at once.
  expect(long.host).toBeGreaterThan(18 * short.host);
  expect(long.flops).toBeGreaterThan(9 * short.flops);
}, 60_000);
