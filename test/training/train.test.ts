/** `train` on a tiny transformer: it learns, by any grouping of the work and however a run is broken off, to the same result. */
import { describe, expect, test } from "vitest";
import type { TrainingStep, TrainOptions } from "../../src/training/options.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { fullParameters } from "../../src/training/full.ts";
import { makeBatch } from "../../src/training/sample.ts";
import type { LateSample, TrainingSample } from "../../src/training/training-sample.ts";
import { trainSteps } from "../../src/training/train-steps.ts";
import { memoryWeights } from "../support/gpu.ts";
import { taken, tinyClips, tinyTransformer } from "../support/tiny-training.ts";

const mean = (steps: readonly TrainingStep[]): number => steps.reduce((sum, { loss }) => sum + loss, 0) / steps.length;

describe("losses fall", { timeout: 120_000 }, () => {
  test.each([
    ["an adapter", { lora: { rank: 4, targets: ["to_q", "to_v", "to_out.0", "ff.net.2", "proj_out"] }, optimizer: { lr: 0.05 } }],
    ["the model", { full: true, optimizer: { lr: 0.01 } }],
    ["the model by Muon with 8-bit means", { full: true, optimizer: { name: "muon", lr: 0.01, bits: 8 } }],
  ] as const)("of %s, in 20 steps", async (_, options) => {
    const model = await tinyTransformer();
    const { steps } = await taken(model, tinyClips(model, 4), { steps: 20, batch: 4, seed: 1, textDropout: 0, ...options });
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    expect(mean(steps.slice(15))).toBeLessThan(0.75 * mean(steps.slice(0, 5)));
    for (const { loss, gradNorm, skipped, clips } of steps) {
      expect(Number.isFinite(loss) && gradNorm > 0 && !skipped).toBe(true);
      expect(clips.length).toBe(4);
      expect(clips.reduce((sum, clip) => sum + clip.loss, 0) / 4).toBeCloseTo(loss, 5);
    }
  });
});

describe("the same bytes", { timeout: 120_000 }, () => {
  /** What makes a run hard to go on with: clips of two sizes, micro-steps, an average, a schedule, every kind of state. */
  const hard: TrainOptions = {
    steps: 6,
    batch: 2,
    accumulation: 2,
    seed: 7,
    full: true,
    ema: { decay: 0.99 },
    optimizer: { name: "muon", lr: 0.01, bits: 8 },
    schedule: { name: "cosine", warmupSteps: 2 },
  };
  const sizes = [
    [3, 2, 4],
    [1, 4, 4],
  ] as const;

  test("twice, with any checkpointing", async () => {
    const model = await tinyTransformer({ num_layers: 2 });
    const clips = tinyClips(model, 10, sizes);
    const { saved } = await taken(model, clips, hard);
    for (const checkpointing of ["attention", "none", "blocks", "pairs"] as const)
      expect((await taken(model, clips, { ...hard, checkpointing })).saved).toEqual(saved);
  });
  test.each([1, 2, 4])("when it stops after step %i and goes on", async (stop) => {
    const model = await tinyTransformer();
    const clips = tinyClips(model, 10, sizes);
    const whole = await taken(model, clips, hard);
    const first = await taken(model, clips, hard, stop);
    const rest = await taken(model, clips, { ...hard, resume: first.saved });
    expect(rest.steps[0]!.step).toBe(stop + 1);
    expect(rest.steps.map(({ loss, lr, gradNorm }) => ({ loss, lr, gradNorm }))).toEqual(
      whole.steps.slice(stop).map(({ loss, lr, gradNorm }) => ({ loss, lr, gradNorm })),
    );
    expect(rest.saved).toEqual(whole.saved);
  });
  test("of an adapter on a stream of clips", async () => {
    const model = await tinyTransformer();
    const data = async function* (epoch: number) {
      for (const clip of tinyClips(model, 5)) yield epoch % 2 ? { ...clip } : clip;
    };
    const options = { steps: 5, batch: 2, seed: 3, lora: { rank: 3, alpha: 6 } };
    const whole = await taken(model, data, options);
    const first = await taken(model, data, options, 3);
    expect((await taken(model, data, { ...options, resume: first.saved })).saved).toEqual(whole.saved);
  });
});

describe("samples that are loaded late", () => {
  /** Counts what is loaded of clips, each told by its sizes. */
  const late = (clips: readonly TrainingSample[], width: number) => {
    const loads: number[] = [];
    const data = (epoch: number): LateSample[] =>
      clips.map((clip, i) => ({
        shape: clip.shape,
        textTokens: clip.text.length / width,
        load: async () => {
          loads.push(epoch * clips.length + i);
          return clip;
        },
      }));
    return { data, loads };
  };

  test("are those that are learned from: a run that goes on loads none of the earlier ones", async () => {
    const model = await tinyTransformer();
    const clips = tinyClips(model, 3);
    const { data, loads } = late(clips, model.config.text_embed_dim);
    const options: TrainOptions = { steps: 6, batch: 2, seed: 7, lora: { rank: 4 } };
    const whole = await taken(model, data, options);
    expect(loads).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    const first = await taken(model, data, options, 4);
    loads.splice(0);
    const rest = await taken(model, data, { ...options, resume: first.saved });
    expect(loads).toEqual([8, 9, 10, 11]);
    expect(rest.saved).toEqual(whole.saved);
    // The same as clips that are there from the beginning.
    expect((await taken(model, () => clips, options)).saved).toEqual(whole.saved);
  });
  test("wait in a packer's window by their sizes alone", async () => {
    const model = await tinyTransformer();
    const clips = tinyClips(model, 40, [
      [3, 2, 4],
      [1, 4, 4],
    ]);
    const { data, loads } = late(clips, model.config.text_embed_dim);
    const { steps } = await taken(model, data, { steps: 2, packing: { budget: 40, window: 32 }, lora: { rank: 4 } });
    expect(loads.length).toBe(steps.flatMap((step) => step.clips).length);
    expect(loads.length).toBeLessThan(20);
  });
  test("that are not what their sizes say are refused", async () => {
    const model = await tinyTransformer();
    const clips = tinyClips(model, 2);
    const data = () => clips.map((clip) => ({ shape: [1, 4, 2, 4] as const, textTokens: 3, load: async () => clip }));
    await expect(taken(model, data, { steps: 1, lora: { rank: 4 } })).rejects.toThrow(
      /must have the sizes that were told of it, \[1, 4, 2, 4\] and 3 tokens/,
    );
  });
});

test("micro-steps of one clip each are a batch of them", async () => {
  const model = await tinyTransformer();
  const options = { steps: 4, seed: 5, full: true, optimizer: { lr: 0.01 } } as const;
  const [together, apart] = [
    await taken(model, tinyClips(model, 6), { ...options, batch: 3 }),
    await taken(model, tinyClips(model, 6), { ...options, batch: 1, accumulation: 3 }),
  ];
  together.steps.forEach(({ loss, gradNorm, clips }, i) => {
    const other = apart.steps[i]!;
    expect(other.clips.map(({ timestep }) => timestep)).toEqual(clips.map(({ timestep }) => timestep));
    expect(Math.abs(other.loss / loss - 1)).toBeLessThan(1e-5);
    expect(Math.abs(other.gradNorm / gradNorm - 1)).toBeLessThan(1e-4);
  });
});

describe("models of every style are trained: one batch again and again is learned", { timeout: 120_000 }, () => {
  const added = { use_rotary_positional_embeddings: false };
  const learned = { use_learned_positional_embeddings: true, in_channels: 8 };
  const later = { patch_size_t: 2, num_layers: 1 };
  test.each([
    ["2B", added, [3, 2, 4], 3],
    ["5B", {}, [3, 2, 4], 3],
    ["5B-I2V", learned, [3, 2, 4], 3],
    ["1.5, of odd frames", later, [3, 2, 4], 4],
    ["1.5-I2V, of one picture", { ...later, in_channels: 8, ofs_embed_dim: 16 }, [1, 2, 4], 2],
  ] as const)("%s", async (_, changes, size, frames) => {
    const model = await tinyTransformer(changes);
    const sampling = { seed: 2, timesteps: "uniform", textDropout: 0, nullText: "zeros", conditionDropout: 0 } as const;
    const place = { seed: 2, step: 0, rank: 0, ranks: 1, count: 2 };
    const batch = await makeBatch(tinyClips(model, 2, [size]), model.config, sampling, place, 0, 1000);
    expect(batch.shape.frames).toBe(frames);
    const { loss } = await trainSteps(model.gpu, model, new Array(10).fill([batch]), {
      trained: fullParameters(transformerWeights(model.config).keys()),
      optimizer: { lr: 0.01 },
    });
    expect(loss[9]).toBeLessThan(0.7 * loss[0]!);
  });
});

describe("refused", () => {
  const options = { steps: 2 };
  test.each<[string, Partial<TrainOptions>, RegExp]>([
    ["no steps", { steps: 0 }, /\[training\] steps must be a whole number from 1, got 0/],
    ["an adapter and the model", { lora: {}, full: true }, /got lora and full; give one of them/],
    [
      "a target that is none",
      { lora: { targets: ["to_k", "to_z"] } },
      /a target must name modules of the model, got "to_z"; it has .*attn1\.to_q/,
    ],
    ["a rank above every side", { lora: { rank: 100 } }, /the rank must be at most the widest side of the targets, \d+, got 100/],
    ["a filter that takes nothing", { full: () => false }, /at least one weight must be trained, got a filter that takes none/],
    ["one of two that lie together", { full: (name) => name.endsWith("norm_q.weight") }, /lie in one tensor and are trained together/],
    ["an unknown optimizer", { optimizer: { name: "sgd" as never } }, /the optimizer's name must be adamw or muon, got "sgd"/],
    ["an unknown option of it", { optimizer: { weight_decay: 1 } as never }, /an option of the optimizer must be name or lr or/],
    ["a rank of several", { rank: 2, ranks: 2 }, /rank must be below ranks, got 2 of 2/],
    [
      "an unknown schedule",
      { schedule: { name: "step" as never } },
      /the schedule's name must be constant or cosine or linear, got "step"/,
    ],
  ])("%s", async (_, wrong, message) => {
    const model = await tinyTransformer();
    await expect(
      taken(model, tinyClips(model, 2), {
        ...options,
        lora: { rank: 4 },
        ...(wrong.full ? { lora: undefined } : {}),
        ...wrong,
      } as TrainOptions),
    ).rejects.toThrow(message);
  });
  test("clips that are not the model's", async () => {
    const model = await tinyTransformer();
    const [clip] = tinyClips(model, 1);
    const refused = (changes: object, message: RegExp) =>
      expect(taken(model, [{ ...clip!, ...changes }], { ...options, lora: { rank: 4 } })).rejects.toThrow(message);
    await refused({ shape: [3, 5, 2, 4] }, /sample 1 of epoch 1: latents must fill their shape/);
    await refused({ latents: clip!.latents.map(() => Number.NaN) }, /latents must be finite, got NaN/);
    await refused({ text: new Float32Array(7) }, /the text must be tokens of 16 values, got 7/);
    await refused({ condition: new Float32Array(8) }, /a condition must be given exactly where the model takes one/);
    await expect(taken(model, [], { ...options, lora: { rank: 4 } })).rejects.toThrow(/an epoch must have at least one sample, got none/);
  });
  test("a run that goes on with something else, which is named", async () => {
    const model = await tinyTransformer();
    const clips = tinyClips(model, 2);
    const { saved } = await taken(model, clips, { ...options, lora: { rank: 4 } });
    const refused = (other: TrainOptions, message: RegExp) =>
      expect(taken(model, clips, { ...other, resume: saved })).rejects.toThrow(message);
    await refused({ steps: 2, lora: { rank: 4 }, seed: 1 }, /got another seed \(0 then, 1 now\)/);
    await refused({ steps: 3, lora: { rank: 8 } }, /got another trained\.lora\.rank \(4 then, 8 now\); .*another steps \(2 then, 3 now\)/);
    await refused({ steps: 2, lora: { rank: 4 }, identity: { data: "v2" } }, /got another data \(nothing then, "v2" now\)/);
    // What is told is what is other than the default: the default itself is no difference.
    const same = { schedule: { name: "constant", warmupSteps: 0, floor: 0.5 } } as const;
    expect((await taken(model, clips, { ...options, ...same, lora: { rank: 4 }, resume: saved })).steps).toEqual([]);
    await refused({ steps: 2, lora: { rank: 4 }, schedule: { warmupSteps: 1 } }, /another schedule\.warmupSteps \(nothing then, 1 now\)/);
    await expect(taken(model, clips, { ...options, lora: { rank: 4 }, resume: new Uint8Array(20) })).rejects.toThrow(
      /must be a safetensors file/,
    );
  });
});

describe("from scratch", { timeout: 120_000 }, () => {
  const options: TrainOptions = { steps: 3, batch: 2, seed: 5, textDropout: 0, full: true, scratch: true };

  test("nothing of the checkpoint is used, and the seed decides what a run begins with", async () => {
    const model = await tinyTransformer();
    const clips = tinyClips(model, 2);
    const halved = Object.fromEntries(
      Object.entries(model.values).map(([name, { data, shape }]) => [name, { data: data.map((v) => v / 2), shape }]),
    );
    const first = await taken(model, clips, options);
    expect((await taken({ ...model, weights: memoryWeights(halved, "f32") }, clips, options)).saved).toEqual(first.saved);
    expect((await taken(model, clips, { ...options, seed: 6 })).saved).not.toEqual(first.saved);
    expect((await taken(model, clips, { ...options, scratch: false })).saved).not.toEqual(first.saved);
  });
  test("blocks begin as the identity and the output as zero: no text shows in the first loss", async () => {
    const model = await tinyTransformer();
    const clips = tinyClips(model, 2);
    const muon = { ...options, steps: 30, optimizer: { name: "muon", lr: 0.02 } } as const;
    const { steps } = await taken(model, clips, muon);
    const others = clips.map((clip) => ({ ...clip, text: clip.text.map((v) => -v) }));
    const other = await taken(model, others, muon);
    expect(other.steps[0]!.loss).toBe(steps[0]!.loss);
    expect(other.steps[5]!.loss).not.toBe(steps[5]!.loss);
    expect(mean(steps.slice(25))).toBeLessThan(0.75 * mean(steps.slice(0, 5)));
  });
  test("is of the whole model, and of this run: an adapter is refused, and a checkpoint of another beginning", async () => {
    const model = await tinyTransformer();
    const clips = tinyClips(model, 2);
    await expect(taken(model, clips, { steps: 1, scratch: true })).rejects.toThrow(/scratch without full/);
    const first = await taken(model, clips, options, 2);
    await expect(taken(model, clips, { ...options, scratch: false, resume: first.saved })).rejects.toThrow(/scratch/);
  });
});
