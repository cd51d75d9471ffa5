/** How clips become batches: padding, dropout, noise of images, order and sizes, from the run's seed alone. */
import { describe, expect, test } from "vitest";
import { NoiseLevels } from "../../src/training/batch.ts";
import { batchesOf } from "../../src/training/batches.ts";
import { makeBatch, type SamplingOptions } from "../../src/training/sample.ts";
import type { TrainingSample } from "../../src/training/training-sample.ts";
import { tinyClips, tinyTransformer } from "../support/tiny-training.ts";

const sampling: SamplingOptions = { seed: 4, timesteps: "uniform", textDropout: 0, nullText: "zeros", conditionDropout: 0 };
const at = (step: number, count = 1) => ({ seed: 4, step, rank: 0, ranks: 1, count });

test("1.5's odd frames begin with the first one twice; the condition ends in zeros", async () => {
  const { config } = await tinyTransformer({ patch_size_t: 2, in_channels: 8 });
  const [clip] = tinyClips({ config } as never, 1);
  const { latents, condition, shape } = await makeBatch([clip!], config, sampling, at(0), 0, 1000);
  const frame = 4 * 2 * 4;
  expect(shape.frames).toBe(4);
  expect(latents.subarray(0, frame)).toEqual(clip!.latents.subarray(0, frame));
  expect(latents.subarray(frame)).toEqual(clip!.latents);
  expect(condition!.subarray(0, frame)).toEqual(clip!.condition);
  expect(condition!.subarray(frame).every((v) => v === 0)).toBe(true);
});

describe("dropout", () => {
  test.each([0.1, 0.5])("leaves out a share of %f of texts and of conditions, each by itself", async (share) => {
    const { config } = await tinyTransformer({ in_channels: 8 });
    const clips = tinyClips({ config } as never, 1);
    let [texts, conditions, both] = [0, 0, 0];
    for (let step = 0; step < 400; step++) {
      const batch = await makeBatch(clips, config, { ...sampling, textDropout: share, conditionDropout: share }, at(step), 0, 1000);
      const [text, condition] = [batch.text, batch.condition!].map((values) => values.every((v) => v === 0));
      texts += +text!;
      conditions += +condition!;
      both += +(text! && condition!);
    }
    const near = (count: number, expected: number) =>
      void expect(Math.abs(count - 400 * expected)).toBeLessThan(4 * Math.sqrt(400 * expected * (1 - expected)) + 1);
    near(texts, share);
    near(conditions, share);
    near(both, share * share);
  });
  test("takes the encoding of no text where it is given", async () => {
    const { config } = await tinyTransformer();
    const clips = tinyClips({ config } as never, 1);
    const nullText = new Float32Array(clips[0]!.text.length).fill(0.25);
    const batch = await makeBatch(clips, config, { ...sampling, textDropout: 1, nullText }, at(0), 0, 1000);
    expect(batch.text).toEqual(nullText);
    const short = { ...sampling, textDropout: 1, nullText: new Float32Array(3) };
    await expect(makeBatch(clips, config, short, at(0), 0, 1000)).rejects.toThrow(/as many values as a text, got 3 for 192/);
  });
});

test("an image's noise has a strength whose logarithm is a normal of mean −3 and deviation ½", async () => {
  const { config } = await tinyTransformer({ in_channels: 8 });
  const [clip] = tinyClips({ config } as never, 1);
  const logs: number[] = [];
  const sample: TrainingSample = {
    ...clip!,
    condition: ({ sigma, noise }) => {
      logs.push(Math.log(sigma));
      return noise([4, 2, 4]).map((v) => sigma * v);
    },
  };
  for (let step = 0; step < 400; step++) await makeBatch([sample], config, sampling, at(step), 0, 1000);
  const mean = logs.reduce((a, b) => a + b, 0) / 400;
  const deviation = Math.sqrt(logs.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 400);
  expect(Math.abs(mean + 3)).toBeLessThan(0.1);
  expect(Math.abs(deviation - 0.5)).toBeLessThan(0.07);
});

test("noise follows from the seed and the place in the run, and not from what was drawn before", async () => {
  const { config } = await tinyTransformer();
  const clips = tinyClips({ config } as never, 2);
  const whole = await makeBatch(clips, config, sampling, at(3, 2), 0, 1000);
  const second = await makeBatch([clips[1]!], config, sampling, at(3, 2), 1, 1000);
  expect(second.noise).toEqual(whole.noise.subarray(second.noise.length));
  expect(second.timesteps[0]).toBe(whole.timesteps[1]);
  const other = await makeBatch(clips, config, { ...sampling, seed: 5 }, { ...at(3, 2), seed: 5 }, 0, 1000);
  expect(other.noise).not.toEqual(whole.noise);
});

test("levels are those of the schedule, with no signal at the last timestep", async () => {
  const { scheduler, config } = await tinyTransformer();
  const batch = await makeBatch(tinyClips({ config } as never, 2), config, sampling, at(0, 2), 0, 1000);
  const table = new NoiseLevels(scheduler).table({ ...batch, timesteps: [0, 999] }, 2, 8);
  const values = 3 * 4 * 2 * 4;
  // diffusers: alphas_cumprod[0] of this schedule is 0.99915.
  expect(table[0]! ** 2).toBeCloseTo(0.99915, 5);
  expect(table[0]! ** 2 + table[1]! ** 2).toBeCloseTo(1, 6);
  expect([table[4], table[5]]).toEqual([0, 1]);
  expect(table[2]).toBeCloseTo(1 / values, 8);
  expect(table[3]).toBeCloseTo((2 * 8) / values / 2 / 2, 7);
});

describe("batches", () => {
  const sizes = [
    [3, 2, 4],
    [1, 4, 4],
  ] as const;
  test("are of one size, and every clip comes once an epoch", async () => {
    const { config } = await tinyTransformer();
    const clips = tinyClips({ config } as never, 10, sizes);
    const seen = new Map<TrainingSample, number>();
    const stream = batchesOf(clips, config, { clips: 2, seed: 9 });
    // Of five clips of a size one waits for the next epoch.
    for (let i = 0; i < 10; i++) {
      const batch = (await stream.next()).value!;
      expect(new Set(batch.map(({ shape }) => shape.join())).size).toBe(1);
      for (const clip of batch as readonly TrainingSample[]) seen.set(clip, (seen.get(clip) ?? 0) + 1);
    }
    expect(clips.map((clip) => seen.get(clip))).toEqual(clips.map(() => 2));
  });
  test("come in another order in every epoch and for every seed, and in the same one again", async () => {
    const { config } = await tinyTransformer();
    const clips = tinyClips({ config } as never, 8);
    const order = async (seed: number) => {
      const stream = batchesOf(clips, config, { clips: 1, seed });
      return await Promise.all(Array.from({ length: 16 }, async () => clips.indexOf((await stream.next()).value![0] as TrainingSample)));
    };
    const [one, again, other] = [await order(1), await order(1), await order(2)];
    expect(again).toEqual(one);
    expect(other).not.toEqual(one);
    expect(one.slice(8)).not.toEqual(one.slice(0, 8));
  });
  test("of what is gone through once end with it", async () => {
    const { config } = await tinyTransformer();
    let count = 0;
    for await (const batch of batchesOf(new Set(tinyClips({ config } as never, 7)), config, { clips: 2, seed: 0 })) count += batch.length;
    expect(count).toBe(6);
  });
});
