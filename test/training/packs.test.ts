/** `train` with clips of several sizes in one sequence. */
import { expect, test, vi } from "vitest";
import type { TrainingStep, TrainOptions } from "../../src/training/options.ts";
import { train } from "../../src/training/train.ts";
import { capacityOf } from "../../src/training/packing/packs.ts";
import { timestepInterval } from "../../src/training/timesteps.ts";
import { taken, tinyClips, tinyTransformer } from "../support/tiny-training.ts";

const sizes = [
  [3, 2, 4],
  [1, 4, 4],
  [5, 4, 6],
] as const;

const packing = { budget: 96, window: 16 };
const options: TrainOptions = { steps: 5, accumulation: 2, seed: 3, full: true, textDropout: 0, optimizer: { lr: 0.01 }, packing };

test("packs are learned from, and a run that stops goes on to the same bytes", { timeout: 120_000 }, async () => {
  const model = await tinyTransformer();
  const clips = tinyClips(model, 9, sizes);
  const whole = await taken(model, clips, { ...options, steps: 12 });
  const mean = (steps: readonly TrainingStep[]) => steps.reduce((sum, { loss }) => sum + loss, 0) / steps.length;
  expect(mean(whole.steps.slice(9))).toBeLessThan(0.8 * mean(whole.steps.slice(0, 3)));
  for (const { fill, skipped } of whole.steps) expect(skipped === false && fill! > 0.5 && fill! <= 1).toBe(true);
  const first = await taken(model, clips, { ...options, steps: 12 }, 7);
  const rest = await taken(model, clips, {
    ...options,
    steps: 12,
    packing: { ...packing, rope: "prefix", average: "clip" },
    resume: first.saved,
  });
  expect(rest.saved).toEqual(whole.saved);
});

test("of all clips of a step, whichever pack they are in, each interval of timesteps has one", { timeout: 120_000 }, async () => {
  const model = await tinyTransformer();
  const { steps } = await taken(model, tinyClips(model, 9, sizes), options);
  for (const { clips } of steps) {
    const n = clips.length;
    const intervals = clips.map(({ timestep }) =>
      Array.from({ length: n }, (_, i) => timestepInterval(i, n)).findIndex(({ first, last }) => timestep >= first && timestep <= last),
    );
    expect(intervals.toSorted((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
  }
  expect(new Set(steps.map(({ clips }) => clips.length)).size).toBeGreaterThan(1);
});

test("ranks learn from the packs that one process learns from", { timeout: 120_000 }, async () => {
  const model = await tinyTransformer();
  const clips = tinyClips(model, 9, sizes);
  const alone = await taken(model, clips, options, 1);
  const apart = [0, 1].map((rank) => taken(model, clips, { ...options, accumulation: 1, rank, ranks: 2 }, 1));
  const losses = (await Promise.all(apart)).map(({ steps }) => steps[0]!);
  expect(losses.flatMap((step) => step.clips.map(({ timestep }) => timestep))).toEqual(
    alone.steps[0]!.clips.map(({ timestep }) => timestep),
  );
  const want = alone.steps[0]!.clips.map(({ loss }) => loss);
  losses.flatMap((step) => step.clips.map(({ loss }) => loss)).forEach((loss, i) => void expect(loss).toBeCloseTo(want[i]!, 5));
});

test("a mix of clips that has not been there compiles nothing", { timeout: 120_000 }, async () => {
  const model = await tinyTransformer();
  const { device } = model.gpu;
  const made = (["createComputePipelineAsync", "createBindGroup", "createBuffer"] as const).map((name) => vi.spyOn(device, name));
  await using run = train(model, tinyClips(model, 9, sizes), options);
  const mixes = new Set<number>();
  for await (const { step, clips } of run) {
    if (step > 1) mixes.add(clips.length);
    for (const calls of made) {
      // A whole program has more bind groups than this; reading what a step came to may take a buffer.
      if (step > 1) expect(calls.mock.calls.length).toBeLessThan(3);
      calls.mockClear();
    }
  }
  expect(mixes.size).toBeGreaterThan(1);
});

test("one graph has room for every mix, and what contradicts is refused", async () => {
  const model = await tinyTransformer();
  const text = model.config.max_text_seq_length;
  expect(capacityOf(model.config, { budget: 96, clips: 3 })).toEqual({ clips: 3, rows: 96, text: Math.min(96, 3 * text), video: 95 });
  const refused = (more: Partial<TrainOptions>) => taken(model, tinyClips(model, 3, sizes), { ...options, ...more });
  await expect(refused({ batch: 2 })).rejects.toThrow(/got packing and batch 2; give one of them/);
  await expect(refused({ packing: { budget: 0 } })).rejects.toThrow(/packing.budget must be a whole number from 1, got 0/);
  await expect(refused({ packing: { budget: 96, rope: "middle" as never } })).rejects.toThrow(/packing.rope/);
  await expect(refused({ packing: { budget: 20 } })).rejects.toThrow(/a clip must fit the token budget of 20, got one of/);
});
