/** Gradients that are computed elsewhere: a run comes to the bytes that it comes to alone, whatever it trains. */
import { expect, test } from "vitest";
import { MicroEngine } from "../../src/training/micro-engine.ts";
import type { MicroGradients, MicroWorkers } from "../../src/training/micro-workers.ts";
import type { WeightProvider } from "../../src/run/weight-provider.ts";
import { trainingNeeds } from "../../src/training/needs.ts";
import type { TrainOptions } from "../../src/training/options.ts";
import { taken, tinyClips, tinyTransformer, type TinyTransformer } from "../support/tiny-training.ts";

/** Each micro-step on an engine of its own, the last one first. */
function engines(model: TinyTransformer, memoryBytes?: number): MicroWorkers & Disposable {
  const all: MicroEngine[] = [];
  let results: MicroGradients[] = [];
  let make: () => MicroEngine;
  return {
    async open(recipe) {
      // As it would be when it has travelled.
      make = () => new MicroEngine(model.gpu, model, JSON.parse(JSON.stringify(recipe)) as typeof recipe, memoryBytes);
    },
    async begin(parameters, micros) {
      results = [];
      for (let i = micros.length - 1; i >= 0; i--) results[i] = await (all[i] ??= make()).run(micros[i]!, parameters);
    },
    result: async (i) => results[i]!,
    [Symbol.dispose]() {
      for (const engine of all) engine[Symbol.dispose]();
    },
  };
}

const cases: [string, TrainOptions][] = [
  ["an adapter", { steps: 3, accumulation: 3, batch: 2, lora: { rank: 3 }, ema: { decay: 0.9 }, maxGradNorm: 0.1 }],
  ["the model", { steps: 2, accumulation: 2, full: true }],
  ["some weights", { steps: 2, accumulation: 2, full: (name) => name.endsWith("to_out.0.weight") }],
  ["packs", { steps: 2, accumulation: 2, packing: { budget: 24 }, lora: { rank: 4 } }],
  ["one micro-step a step", { steps: 3, batch: 2, lora: { rank: 4 } }],
];

test.each(cases)(
  "%s",
  async (_, options) => {
    const model = await tinyTransformer();
    const data = tinyClips(model, 5);
    const alone = await taken(model, data, options);
    using workers = engines(model);
    const shared = await taken(model, data, { ...options, workers });
    expect(shared.saved).toEqual(alone.saved);
    const told = (steps: typeof alone.steps) => steps.map(({ seconds: _, flops: __, ...step }) => step);
    expect(told(shared.steps)).toEqual(told(alone.steps));
  },
  60_000,
);

test("within less memory, where frozen weights come and go, the bytes are the same", async () => {
  const model = await tinyTransformer({ num_layers: 4 });
  const { gpu, config, weights } = model;
  const options: TrainOptions = { steps: 2, accumulation: 2, lora: { rank: 4 } };
  // The second clip is the larger one, and asks for other room.
  const data = tinyClips(model, 2, [
    [1, 2, 2],
    [3, 2, 4],
  ]);
  const shape = { clips: 1, frames: 3, height: 2, width: 4, textLength: config.max_text_seq_length };
  const whole = trainingNeeds({ config, weights, dtype: "f32", caps: gpu.caps }, options, shape);
  const alone = await taken(model, data, options);
  /** Bytes of weights that are read for a run. */
  const read = async (memoryBytes?: number): Promise<number> => {
    let bytes = 0;
    const counted: WeightProvider = {
      type: (name) => weights.type(name),
      stored(name) {
        const stored = weights.stored(name);
        return { ...stored, read: (start, into, ...more) => stored.read(start, into, ...more).finally(() => (bytes += into.length)) };
      },
    };
    using workers = engines({ ...model, weights: counted }, memoryBytes);
    expect((await taken(model, data, { ...options, workers })).saved).toEqual(alone.saved);
    return bytes;
  };
  expect(await read(0.5 * whole.peak)).toBeGreaterThan(1.5 * (await read()));
}, 60_000);
