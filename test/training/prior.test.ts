/** What a run is to keep among what it learns: the stream, what prior clips are learned as, and runs that go on. */
import { describe, expect, test } from "vitest";
import { samplesOf } from "../../src/training/batches.ts";
import type { TrainingStep, TrainOptions } from "../../src/training/options.ts";
import { turned } from "../../src/training/prior/batch.ts";
import type { LateSample, StreamedSample, TrainingSample } from "../../src/training/training-sample.ts";
import { values } from "../support/compare.ts";
import { taken, tinyClips, tinyTransformer } from "../support/tiny-training.ts";

const SIZES = [
  [3, 2, 4],
  [1, 4, 4],
] as const;
const targets = ["to_q", "to_v", "to_out.0", "ff.net.2", "proj_out"];

const mean = (of: readonly number[]): number => of.reduce((a, b) => a + b, 0) / of.length;
const lossesOf = (steps: readonly TrainingStep[], prior: boolean): number[] =>
  steps.flatMap(({ clips }) => clips.filter((clip) => (clip.prior ?? false) === prior).map(({ loss }) => loss));

test("clean latents and noise are turned to another velocity, and make the same noisy latents", () => {
  const [latents, noise, velocity] = [values(64, 1), values(64, 2), values(64, 3)];
  for (const angle of [0, 0.3, 1.2, Math.PI / 2]) {
    const level = [Math.cos(angle), Math.sin(angle)] as const;
    const [signal, sigma] = level;
    const made = turned({ latents, noise }, velocity, level);
    for (let i = 0; i < 64; i++) {
      expect(signal * made.latents[i]! + sigma * made.noise[i]!).toBeCloseTo(signal * latents[i]! + sigma * noise[i]!, 5);
      expect(signal * made.noise[i]! - sigma * made.latents[i]!).toBeCloseTo(velocity[i]!, 5);
    }
  }
});

describe("the stream", () => {
  const streamed = async (share: number, count: number): Promise<StreamedSample[]> => {
    const model = await tinyTransformer();
    const [clips, prior] = [tinyClips(model, 5), tinyClips(model, 3)];
    const found: StreamedSample[] = [];
    for await (const sample of samplesOf(clips, model.config, 4, { data: () => prior, share })) {
      found.push(sample);
      if (found.length === count) break;
    }
    return found;
  };

  test.each([0.25, 0.5, 0.6, 0.8])("has a share of %d of prior clips at every place", async (share) => {
    const stream = await streamed(share, 60);
    for (let n = 1; n <= 60; n++) {
      const prior = stream.slice(0, n).filter((sample) => sample.prior).length;
      expect(Math.abs(prior - share * n)).toBeLessThanOrEqual(share / (1 - share) + 1);
    }
    expect(stream.filter((sample) => sample.prior).length).toBe(60 * share);
  });
  test("has them in epochs of their own, loaded late where they are given so", async () => {
    const model = await tinyTransformer();
    const prior = tinyClips(model, 3);
    const asked: string[] = [];
    const loaded: TrainingSample[] = [];
    const late = (epoch: number): LateSample[] =>
      prior.map((clip, i) => ({
        shape: clip.shape,
        textTokens: clip.text.length / model.config.text_embed_dim,
        load: async () => {
          asked.push(`${epoch}.${i}`);
          return clip;
        },
      }));
    let n = 0;
    for await (const sample of samplesOf(tinyClips(model, 2), model.config, 0, { data: late, share: 0.5 })) {
      if (sample.prior && "load" in sample) loaded.push(await sample.load());
      if (++n === 10) break;
    }
    expect(asked).toEqual(["0.0", "0.1", "0.2", "1.0", "1.1"]);
    expect(loaded).toEqual([...prior, ...prior.slice(0, 2)]);
  });
});

describe("prior clips", { timeout: 120_000 }, () => {
  test.each([
    ["in batches", {}, { batch: 4 }],
    ["in batches of an image model", { in_channels: 8 }, { batch: 4 }],
    ["in packs", {}, { packing: { budget: 48 } }],
    ["in packs of patches of two frames", { patch_size_t: 2, patch_bias: false }, { packing: { budget: 48 } }],
  ] as const)("are learned as the model had them, %s: they lose nothing before it has changed", async (_, changes, options) => {
    const model = await tinyTransformer(changes);
    const prior = { data: tinyClips(model, 4, SIZES), share: 0.5 };
    const { steps } = await taken(model, tinyClips(model, 6, SIZES), { ...options, prior, steps: 2, seed: 3, lora: { rank: 4, targets } });
    const [first, second] = steps as [TrainingStep, TrainingStep];
    expect(lossesOf([first], true).length).toBeGreaterThan(0);
    expect(Math.max(...lossesOf([first], true))).toBeLessThan(1e-9);
    expect(Math.min(...lossesOf([first], false))).toBeGreaterThan(0.01);
    expect(Math.max(...lossesOf([second], true))).toBeGreaterThan(0);
    expect(first.clips.length).toBe(lossesOf([first], true).length + lossesOf([first], false).length);
  });
  test("of the whole model are learned as the checkpoint has it, after a break too", async () => {
    const model = await tinyTransformer();
    const options: TrainOptions = {
      prior: { data: tinyClips(model, 4) },
      ...{ steps: 6, batch: 2, seed: 3, textDropout: 0.5, full: true, optimizer: { lr: 0.01 } },
    };
    const whole = await taken(model, tinyClips(model, 6), options);
    expect(lossesOf(whole.steps.slice(0, 1), true)[0]).toBeLessThan(1e-9);
    expect(mean(lossesOf(whole.steps.slice(2), true))).toBeGreaterThan(1e-5);
    const first = await taken(model, tinyClips(model, 6), options, 3);
    expect((await taken(model, tinyClips(model, 6), { ...options, resume: first.saved })).saved).toEqual(whole.saved);
    const other = { ...options, prior: { ...options.prior!, weight: 2 }, resume: first.saved };
    await expect(taken(model, tinyClips(model, 6), other)).rejects.toThrow(/prior/);
  });
  test("count their weight: the model changes less where they count", async () => {
    const model = await tinyTransformer();
    const run = (weight: number) =>
      taken(model, tinyClips(model, 6), {
        prior: { data: tinyClips(model, 5), weight },
        ...{ steps: 24, batch: 4, seed: 1, textDropout: 0, lora: { rank: 4, targets }, optimizer: { lr: 0.02 } },
      });
    const [kept, free] = [await run(4), await run(1e-6)];
    expect(mean(lossesOf(kept.steps.slice(12), true))).toBeLessThan(0.5 * mean(lossesOf(free.steps.slice(12), true)));
  });
  test("as they are, of weight 1, are clips among the others", async () => {
    const model = await tinyTransformer();
    const [clips, prior] = [tinyClips(model, 4), tinyClips(model, 4).reverse()];
    const options: TrainOptions = { steps: 4, batch: 2, seed: 2, lora: { rank: 4 } };
    const among = async function* (): AsyncGenerator<TrainingSample> {
      for (let i = 0; i < 4; i++) yield* [clips[i]!, prior[i]!];
    };
    const mixed = await taken(model, among, options);
    const told = await taken(model, () => clips, { ...options, prior: { data: () => prior, target: "clips" } });
    const numbers = ({ loss, gradNorm }: TrainingStep) => ({ loss, gradNorm });
    expect(told.steps.map(numbers)).toEqual(mixed.steps.map(numbers));
    expect(told.steps.every((step) => step.clips[1]!.prior && !step.clips[0]!.prior)).toBe(true);
  });
  test("of stages and of replicas: one replica that meets itself after each step is the run without", async () => {
    const model = await tinyTransformer();
    const options: TrainOptions = {
      prior: { data: tinyClips(model, 4) },
      stages: [{ steps: 2 }, { steps: 2, prior: tinyClips(model, 2), packing: { budget: 40 } }],
      ...{ seed: 3, lora: { rank: 4, targets }, optimizer: { lr: 0.01 } },
    };
    const whole = await taken(model, tinyClips(model, 6), options);
    const once = { steps: 1, replicas: 1, outerLr: 1, outerMomentum: 0, exchange: "f32" } as const;
    const replica = await taken(model, tinyClips(model, 6), { ...options, diloco: once });
    expect(replica.steps.map((step) => step.clips)).toEqual(whole.steps.map((step) => step.clips));
    expect(replica.steps.map((step) => step.flops)).toEqual(whole.steps.map((step) => step.flops));
    const first = await taken(model, tinyClips(model, 6), options, 3);
    expect((await taken(model, tinyClips(model, 6), { ...options, resume: first.saved })).saved).toEqual(whole.saved);
  });
});

test("what no run can keep is refused", async () => {
  const model = await tinyTransformer();
  const data = tinyClips(model, 2);
  const run = (options: Partial<TrainOptions>) =>
    taken(model, data, { steps: 1, ...(options.full ? {} : { lora: { rank: 4 } }), ...options });
  await expect(run({ prior: { data, share: 1 } })).rejects.toThrow(/prior\.share must be above 0 and below 1, got 1/);
  await expect(run({ prior: { data, weight: 0 } })).rejects.toThrow(/prior\.weight must be a number above 0, got 0/);
  await expect(run({ prior: { data, target: "both" as never } })).rejects.toThrow(/prior\.target .*both/);
  await expect(run({ prior: { data }, full: true, scratch: true })).rejects.toThrow(/drawn weights know nothing that could be kept/);
  await expect(run({ batch: 2, prior: { data: [] } })).rejects.toThrow(/at least one sample, got none/);
  await expect(taken(model, data, { stages: [{ steps: 1, prior: data }] })).rejects.toThrow(/stage 1: .*give the run prior too/);
});
