/** A pack's loss and gradients against those of its clips one by one. */
import { describe, expect, test } from "vitest";
import { parseSchedulerConfig } from "../../src/diffusion/config.ts";
import { TorchGenerator } from "../../src/diffusion/torch-random.ts";
import { parseTransformerConfig, type TransformerConfig } from "../../src/models/cogvideox/config.ts";
import { capacityFor, PositionTables } from "../../src/models/cogvideox/packed.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { States } from "../../src/run/states.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { NoiseLevels } from "../../src/training/batch.ts";
import { fullParameters } from "../../src/training/full.ts";
import { initialise } from "../../src/training/initial-values.ts";
import { loraParameters } from "../../src/training/lora.ts";
import { type ClipOfPack, packedInputs, type PackedBatch } from "../../src/training/packing/batch.ts";
import type { Trained } from "../../src/training/parameters.ts";
import { microStep, type Recipe } from "../../src/training/record.ts";
import { withSums } from "../../src/training/step-graphs.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { expectClose, values } from "../support/compare.ts";
import { drawnWeights } from "../support/drawn-weights.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";

const base = {
  num_attention_heads: 2,
  attention_head_dim: 16,
  in_channels: 4,
  out_channels: 4,
  time_embed_dim: 32,
  text_embed_dim: 16,
  num_layers: 2,
  max_text_seq_length: 6,
  sample_height: 8,
  sample_width: 12,
};
const STYLES = {
  "rotary positions (5B)": { ...base, use_rotary_positional_embeddings: true },
  "added positions (2B)": base,
  "patches of two frames, ofs (1.5)": { ...base, use_rotary_positional_embeddings: true, patch_size_t: 2, ofs_embed_dim: 32 },
  "a condition on further channels (I2V)": { ...base, in_channels: 8, use_rotary_positional_embeddings: true },
} as const;
const scheduler = parseSchedulerConfig({
  _class_name: "CogVideoXDDIMScheduler",
  prediction_type: "v_prediction",
  rescale_betas_zero_snr: true,
  snr_shift_scale: 1,
});
const levels = new NoiseLevels(scheduler);

const weightsOf = (c: TransformerConfig) => memoryWeights(drawnWeights(c));

function clip(c: TransformerConfig, [frames, height, width]: readonly [number, number, number], seed: number): ClipOfPack {
  const size = frames * height * width;
  return {
    shape: [frames, c.out_channels, height, width],
    latents: values(size * c.out_channels, 100 + seed, 2),
    noise: values(size * c.out_channels, 200 + seed, 2),
    timestep: (seed * 317) % 1000,
    text: values(c.max_text_seq_length * c.text_embed_dim, 300 + seed, 2),
    ...(c.in_channels > c.out_channels ? { condition: values(size * (c.in_channels - c.out_channels), 400 + seed) } : {}),
  };
}

const trainedOf = (c: TransformerConfig, kind: "full" | "lora"): Trained => {
  const shapes = transformerWeights(c);
  if (kind === "full") return fullParameters(shapes.keys());
  const lora = loraParameters(shapes, { rank: 4, alpha: 2 }, new TorchGenerator(1));
  // B is zero before the first step, and A then has no gradient.
  return {
    ...lora,
    initial: (parameter) =>
      values(
        parameter.shape.reduce((a, b) => a * b),
        parameter.name.length,
        0.1,
      ),
  };
};

/** Loss and gradients of packs, added up in one set of sums. */
async function gradients(c: TransformerConfig, kind: "full" | "lora", packs: readonly (PackedBatch & { readonly weight: number })[]) {
  const gpu = await testGpu();
  const provider = weightsOf(c);
  const trained = trainedOf(c, kind);
  const recipe: Recipe = {
    config: c,
    weights: provider,
    dtype: "f32",
    trained,
    checkpointing: "attention",
  };
  const graphs: Graph[] = packs.map(({ capacity }) => withSums(microStep(recipe, capacity)));
  using states = new States(
    gpu,
    graphs.map((graph) => ({ graph })),
  );
  using store = new WeightStore(gpu, provider);
  await initialise(gpu, provider, trained, states);
  let loss = 0;
  for (const [i, pack] of packs.entries()) {
    using program = await Program.create(gpu, compile(graphs[i]!, gpu.caps), store, { states });
    for (const name of graphs[i]!.inputs.keys()) {
      const given = trained.input(name);
      if (given) program.write(name, given);
    }
    const inputs = packedInputs(pack, c, levels, { micros: 1, lossScale: pack.weight, tables: new PositionTables() });
    await program.run({ inputs: { ...inputs, begun: Float32Array.of(Math.min(i, 1), 0, 0, 0) } });
    const losses = await program.read("loss");
    const all = pack.clips.reduce((n, { latents }) => n + latents.length, 0);
    for (const [j, { latents }] of pack.clips.entries())
      loss += pack.weight * losses[j]! * (pack.average === "token" ? latents.length / all : 1 / pack.clips.length);
  }
  const sums = new Map<string, Float32Array>();
  for (const [name, bytes] of await states.save()) if (name.startsWith("gradient:")) sums.set(name, new Float32Array(bytes));
  return { loss, sums };
}

describe.each(Object.entries(STYLES))("%s", (_, json) => {
  const c = parseTransformerConfig(json);
  const clips = [clip(c, [2, 4, 6], 1), clip(c, [4, 8, 4], 2), clip(c, [2, 4, 2], 3)];
  const alone = (one: ClipOfPack, weight: number) => ({ capacity: capacityOf(c, [one]), clips: [one], weight });

  test.each([
    ["full", "clip"],
    ["lora", "clip"],
    ["full", "token"],
  ] as const)("%s, by %s: loss and gradients are those of the clips one by one", async (kind, average) => {
    const capacity = capacityOf(c, clips);
    // With room that no clip fills.
    const roomy = { clips: capacity.clips + 2, rows: capacity.rows + 19, text: capacity.text + 8, video: capacity.video + 13 };
    const packed = await gradients(c, kind, [{ capacity: roomy, clips, average, weight: 1 }]);
    const all = clips.reduce((n, { latents }) => n + latents.length, 0);
    const shares = clips.map(({ latents }) => (average === "clip" ? 1 / clips.length : latents.length / all));
    const apart = await gradients(
      c,
      kind,
      clips.map((one, i) => alone(one, shares[i]!)),
    );
    expect(packed.loss).toBeCloseTo(apart.loss, 5);
    expect([...packed.sums.keys()].sort()).toEqual([...apart.sums.keys()].sort());
    const largest = Math.max(...[...apart.sums.values()].map(norm));
    expect(largest).toBeGreaterThan(0);
    for (const [name, want] of apart.sums) {
      // The keys' biases change no weight of attention: what is there is rounding.
      if (norm(want) < 1e-5 * largest) expect(norm(packed.sums.get(name)!)).toBeLessThan(2e-5 * largest);
      else expectClose(packed.sums.get(name)!, want, 2e-5);
    }
  });
});

test("a trainer takes packs, whichever clips are in them, and the same ones give the same bytes", async () => {
  const c = parseTransformerConfig(STYLES["rotary positions (5B)"]);
  const capacity = { clips: 4, rows: 120, text: 24, video: 96 };
  const packs = [
    [clip(c, [2, 4, 6], 1), clip(c, [4, 8, 4], 2)],
    [clip(c, [2, 4, 2], 3), clip(c, [2, 8, 8], 4), clip(c, [2, 2, 2], 5)],
  ].map((clips) => ({ capacity, clips }));
  const run = async () => {
    using trainer = await Trainer.create(
      await testGpu(),
      { config: c, scheduler, weights: weightsOf(c) },
      { trained: trainedOf(c, "lora"), accumulation: 2, maxGradNorm: 1 },
    );
    const reports = [];
    for (let i = 0; i < 3; i++) reports.push(await trainer.step(packs, 1e-2));
    return { reports, states: await trainer.states.save() };
  };
  const [once, again] = [await run(), await run()];
  expect(once).toEqual(again);
  expect(once.reports[0]!.losses.map(({ length }) => length)).toEqual([2, 3]);
  expect(once.reports[2]!.loss).toBeLessThan(once.reports[0]!.loss);
});

const capacityOf = (c: TransformerConfig, clips: readonly ClipOfPack[]) =>
  capacityFor(
    c,
    clips.map(({ shape: [frames, , height, width], text }) => ({ frames, height, width, text: text.length / c.text_embed_dim })),
  );
const norm = (x: Float32Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0));
