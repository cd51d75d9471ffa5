/** Gradients that are computed elsewhere: a run comes to the bytes that it comes to alone, whatever it trains. */
import { expect, test } from "vitest";
import { MicroEngine } from "../../src/training/micro-engine.ts";
import type { MicroGradients, MicroWorkers } from "../../src/training/micro-workers.ts";
import type { TrainOptions } from "../../src/training/options.ts";
import { taken, tinyClips, tinyTransformer, type TinyTransformer } from "../support/tiny-training.ts";

/** Each micro-step on an engine of its own, the last one first. */
function engines(model: TinyTransformer): MicroWorkers & Disposable {
  const all: MicroEngine[] = [];
  let results: MicroGradients[] = [];
  let make: () => MicroEngine;
  return {
    async open(recipe) {
      // As it would be when it has travelled.
      make = () => new MicroEngine(model.gpu, model, JSON.parse(JSON.stringify(recipe)) as typeof recipe);
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
