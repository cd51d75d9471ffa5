/** f16, the scale of the loss, and gradients that are not finite. */
import { describe, expect, test } from "vitest";
import { firstLossScale, type LossScaleState, nextLossScale } from "../../src/training/loss-scale.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { fullParameters } from "../../src/training/full.ts";
import { makeBatch } from "../../src/training/sample.ts";
import { train } from "../../src/training/train.ts";
import { trainSteps } from "../../src/training/train-steps.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { testGpu } from "../support/gpu.ts";
import { tinyClips, tinyTransformer } from "../support/tiny-training.ts";

describe("the scale of the loss", () => {
  const stepsLater = (state: LossScaleState, taken: boolean, times: number): LossScaleState => {
    let now = state;
    for (let i = 0; i < times; i++) now = nextLossScale(now, "f16", taken, 1);
    return now;
  };
  test("is halved by a step that is not taken, and doubled after 400 that are", () => {
    const halved = stepsLater(firstLossScale("f16", 70_000), false, 1);
    expect(halved).toEqual({ scale: 32768, good: 0, skipped: 1 });
    expect(stepsLater(halved, true, 399).scale).toBe(32768);
    expect(stepsLater(halved, true, 400)).toEqual({ scale: 65536, good: 0, skipped: 0 });
  });
  test("is 1 in f32", () => {
    expect(nextLossScale(firstLossScale("f32", 70_000), "f32", false, 3)).toEqual({ scale: 1, good: 0, skipped: 1 });
  });
  test("ten steps in a row that are not taken end the run, and say what to do", () => {
    const nine = stepsLater(firstLossScale("f16", 70_000), false, 9);
    expect(() => nextLossScale(nine, "f16", false, 12)).toThrow(
      /got 12 NaN or infinite values, and 10 steps in a row .*; begin anew with a lower learning rate .* or train in f32/,
    );
  });
});

const sampling = { seed: 2, timesteps: "uniform", textDropout: 0, nullText: "zeros", conditionDropout: 0 } as const;
const place = { seed: 2, step: 0, rank: 0, ranks: 1, count: 2 };

test("a step with NaN in its gradients changes nothing, is told, and the next one is taken", async () => {
  const model = await tinyTransformer();
  const good = await makeBatch(tinyClips(model, 2), model.config, sampling, place, 0, 1000);
  const bad = { ...good, text: good.text.map((v, i) => (i === 5 ? Infinity : v)) };
  const trained = fullParameters(transformerWeights(model.config).keys());
  using trainer = await Trainer.create(model.gpu, model, { trained, ema: { decay: 0.9 }, accumulation: 2 });
  await trainer.step([good, good], 0.01);
  const before = await trainer.states.save();
  const report = await trainer.step([good, bad], 0.01);
  expect(report.taken).toBe(false);
  expect(trainer.progress).toMatchObject({ updates: 1, lossScale: { skipped: 1 } });
  for (const [name, bytes] of await trainer.states.save()) if (!name.startsWith("gradient:")) expect(bytes).toEqual(before.get(name));
  expect((await trainer.step([good, good], 0.01)).taken).toBe(true);
  expect(trainer.progress).toMatchObject({ updates: 2, lossScale: { skipped: 0 } });
});

describe("in f16", { timeout: 120_000 }, () => {
  test("losses follow those in f32, and parameters stay f32", async (context) => {
    if (!(await testGpu()).caps.f16) return context.skip("needs an adapter with shader-f16");
    const [half, full] = [await tinyTransformer({}, "f16"), await tinyTransformer()];
    const batch = await makeBatch(tinyClips(full, 2), full.config, sampling, place, 0, 1000);
    const run = (model: typeof full, dtype: "f16" | "f32") =>
      trainSteps(model.gpu, model, new Array(10).fill([batch]), {
        trained: fullParameters(transformerWeights(model.config).keys()),
        optimizer: { lr: 0.01 },
        dtype,
      });
    const [got, want] = [await run(half, "f16"), await run(full, "f32")];
    want.loss.forEach((loss, i) => void expect(Math.abs(got.loss[i]! / loss - 1)).toBeLessThan(0.01));
    want.gradNorm.forEach((norm, i) => void expect(Math.abs(got.gradNorm[i]! / norm - 1)).toBeLessThan(0.02));
    expect(got.loss[9]).toBeLessThan(0.7 * got.loss[0]!);
    // A step of 0.01 in a hundred-thousandth of a weight would be lost in f16.
    expect([...got.values.values()].some((values) => values.some((v) => v !== Math.fround(v) || (v * 4096) % 1 !== 0))).toBe(true);
  });
  test("a loss that f16 cannot hold at the first scale lowers it, and the run goes on", async (context) => {
    if (!(await testGpu()).caps.f16) return context.skip("needs an adapter with shader-f16");
    const model = await tinyTransformer({}, "f16");
    const clips = tinyClips(model, 2).map((clip) => ({ ...clip, latents: clip.latents.map((v) => 1e5 * v) }));
    await using run = train(model, clips, { steps: 12, batch: 2, seed: 1, full: true, dtype: "f16", textDropout: 0 });
    const scales: number[] = [];
    let taken = 0;
    for await (const { lossScale, skipped } of run) {
      scales.push(lossScale);
      taken += +!skipped;
    }
    // Two clips of 96 values.
    expect(scales[0]).toBe(128);
    expect(scales.at(-1)).toBeLessThan(128);
    expect(taken).toBeGreaterThan(2);
  });
});
