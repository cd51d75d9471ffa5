/** Runs in stages: each with its own data, packs and rate, to the same bytes however they are broken off. */
import { describe, expect, it, test } from "vitest";
import { mixedOrder } from "../../src/data/samples.ts";
import type { TrainOptions } from "../../src/training/options.ts";
import { stagesOf, stepsOf } from "../../src/training/stages.ts";
import { train } from "../../src/training/train.ts";
import { taken, tinyClips, tinyTransformer } from "../support/tiny-training.ts";

const small = [
  [1, 2, 2],
  [3, 2, 4],
] as const;
const large = [
  [3, 4, 4],
  [2, 2, 6],
] as const;

/** A stage of batches and two of packs, of growing clips. */
async function staged() {
  const model = await tinyTransformer();
  const [first, second] = [tinyClips(model, 6, small), tinyClips(model, 6, large)];
  const options: TrainOptions = {
    seed: 3,
    full: true,
    ema: { decay: 0.9 },
    optimizer: { lr: 0.01 },
    schedule: { name: "cosine", warmupSteps: 2 },
    stages: [
      { steps: 3, data: first, batch: 1 },
      { steps: 4, data: first, packing: { budget: 60, window: 5 }, lr: 0.004 },
      { steps: 3, data: second, packing: { budget: 72, window: 4 }, lr: 0.001 },
    ],
  };
  return { model, first, second, options };
}

describe("a run in stages", { timeout: 120_000 }, () => {
  it("takes each stage's data, packs and rate in turn, and tells the stage of a step", async () => {
    const { model, first, options } = await staged();
    const { steps } = await taken(model, first, options);
    expect(steps.map(({ stage }) => stage)).toEqual([1, 1, 1, 2, 2, 2, 2, 3, 3, 3]);
    expect(steps.every((step) => step.steps === 10)).toBe(true);
    // The schedule runs in each stage by itself: its first step has half of the rate in a warm-up of two.
    for (const [at, lr] of [
      [0, 0.01],
      [3, 0.004],
      [7, 0.001],
    ] as const)
      expect([steps[at]!.lr, steps[at + 1]!.lr]).toEqual([lr / 2, lr]);
    expect(steps.map(({ fill }) => fill !== undefined)).toEqual([...new Array(3).fill(false), ...new Array(7).fill(true)]);
    expect(steps[9]!.flops).toBeGreaterThan(steps[0]!.flops);
  });

  it("comes to the same bytes when it stops within a stage or between two", async () => {
    const { model, first, options } = await staged();
    const whole = await taken(model, first, options);
    for (const stop of [3, 8]) {
      const { saved } = await taken(model, first, options, stop);
      const rest = await taken(model, first, { ...options, resume: saved });
      expect(rest.steps[0]!.step).toBe(stop + 1);
      expect(rest.saved, `stopped after step ${stop}`).toEqual(whole.saved);
    }
  });

  it("goes on with the same stages only", async () => {
    const { model, first, options } = await staged();
    const { saved } = await taken(model, first, options, 2);
    const stages = options.stages!.map((stage, i) => (i === 2 ? { ...stage, lr: 0.002 } : stage));
    await expect(taken(model, first, { ...options, stages, resume: saved })).rejects.toThrow(/stage 3: lr \(.* then, 0\.002 now\)/);
  });

  it("loses the same on held-out clips each time that it is asked, and goes on as if it had not been", async () => {
    const { model, first, second, options } = await staged();
    const whole = await taken(model, first, options);
    await using run = train(model, first, options);
    const losses: number[][] = [];
    losses.push(await run.validate(second.slice(0, 2)), await run.validate(second.slice(0, 2)));
    for await (const { step } of run) if (step === 5) losses.push(await run.validate(second.slice(0, 2), { timesteps: [100, 500] }));
    losses.push(await run.validate(second.slice(0, 2)));
    expect(await run.save()).toEqual(whole.saved);
    expect(losses.map(({ length }) => length)).toEqual([5, 5, 2, 5]);
    expect(losses[1]).toEqual(losses[0]);
    expect(losses[3]).not.toEqual(losses[0]);
  });

  test.each<[string, Partial<TrainOptions>, RegExp]>([
    ["none", { stages: [] }, /stages must be a list of at least one, got none/],
    ["a stage without steps", { stages: [{ steps: 0 }] }, /stage 1: steps must be a whole number from 1, got 0/],
    ["a batch and packs", { stages: [{ steps: 1, batch: 2, packing: { budget: 9 } }] }, /stage 1: clips are packed or in batches/],
    ["another sum", { steps: 5, stages: [{ steps: 1 }, { steps: 2 }] }, /a run has the steps of its stages, 3, got steps 5; leave it out/],
    ["an unknown option", { stages: [{ steps: 1, size: 3 } as never] }, /an option of stage 1 must be steps or data or prior or lr/],
    [
      "a warm-up beyond a stage",
      { stages: [{ steps: 4 }, { steps: 2 }], schedule: { warmupSteps: 2 } },
      /stage 2: the warm-up must be shorter than every stage, got 2 of 2 steps/,
    ],
  ])("refused: %s", async (_, wrong, message) => {
    const { model, first } = await staged();
    await expect(taken(model, first, { lora: { rank: 4 }, ...wrong })).rejects.toThrow(message);
  });
});

test("a stage's batches or packs take the place of the run's", () => {
  const stages = stagesOf({ batch: 4, stages: [{ steps: 1 }, { steps: 2, batch: 2 }, { steps: 3, packing: { budget: 9 } }] });
  expect(stages.map(({ before, batch, packing }) => [before, batch, packing?.budget])).toEqual([
    [0, 4, undefined],
    [1, 2, undefined],
    [3, 1, 9],
  ]);
  expect(stepsOf({ steps: 7 })).toBe(7);
});

test("pictures have their share at every place, all of them equally often, and films one turn an epoch", () => {
  const kinds = { films: [0, 2, 4, 6], pictures: [1, 3, 5] };
  const epochs = Array.from({ length: 30 }, (_, epoch) => mixedOrder(kinds, 0.3, 1, epoch));
  const all = epochs.flat();
  for (const epoch of epochs) expect(epoch.filter((i) => i % 2 === 0).sort()).toEqual(kinds.films);
  for (let n = 20; n <= all.length; n++) expect(Math.abs(all.slice(0, n).filter((i) => i % 2).length / n - 0.3)).toBeLessThan(0.06);
  const counts = kinds.pictures.map((i) => all.filter((j) => j === i).length);
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
  expect(epochs[0]).not.toEqual(epochs[1]);
  expect(mixedOrder(kinds, 0.3, 1, 7)).toEqual(epochs[7]);
  expect(mixedOrder(kinds, 1, 1, 0).sort()).toEqual(kinds.pictures);
  expect(mixedOrder(kinds, 0, 1, 0).sort()).toEqual(kinds.films);
});
