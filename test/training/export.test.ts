/** What was learned, as files: they are read here, and compute what the run computed. test/training/in_diffusers.py loads them there. */
import { expect, test } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { ComponentWeights } from "../../src/checkpoint/component-weights.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { Graph } from "../../src/graph/graph.ts";
import { recordTransformer } from "../../src/models/cogvideox/forward.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { loraChanges } from "../../src/models/lora/changes.ts";
import { withLoras } from "../../src/models/lora/merge.ts";
import { loadLora } from "../../src/pipelines/lora-file.ts";
import { runGraph } from "../../src/run/run-graph.ts";
import type { WeightProvider } from "../../src/run/weight-provider.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { TorchGenerator } from "../../src/diffusion/torch-random.ts";
import { fullParameters } from "../../src/training/full.ts";
import { loraParameters } from "../../src/training/lora.ts";
import type { Trained } from "../../src/training/parameters.ts";
import { makeBatch } from "../../src/training/sample.ts";
import { trainSteps } from "../../src/training/train-steps.ts";
import { train, type Training } from "../../src/training/train.ts";
import type { TrainOptions } from "../../src/training/options.ts";
import { relativeL2, values } from "../support/compare.ts";
import { TINY_CONFIGS } from "../support/tiny-configs.ts";
import { tinyClips, tinyTransformer, type TinyTransformer } from "../support/tiny-training.ts";

async function trained<T>(model: TinyTransformer, options: Partial<TrainOptions>, use: (run: Training) => Promise<T>): Promise<T> {
  await using run = train(model, tinyClips(model, 2), { steps: 5, batch: 2, seed: 1, optimizer: { lr: 0.05 }, ...options });
  let steps = 0;
  for await (const step of run) steps = step.step;
  expect(steps).toBe(5);
  return await use(run);
}

/** What a transformer of such weights predicts for a clip. */
async function predicted({ gpu, config: c }: TinyTransformer, weights: WeightProvider): Promise<Float32Array> {
  const graph = new Graph("predict", (name) => weights.type(name));
  const inputs = {
    latents: graph.input("latents", [1, 3, c.out_channels, 2, 4]),
    text: graph.input("text", [1, c.max_text_seq_length, c.text_embed_dim]),
    timestep: graph.input("timestep", [1]),
  };
  graph.output("y", recordTransformer(graph, c, inputs, "f32"));
  const given = { latents: values(inputs.latents.size, 5), text: values(inputs.text.size, 6), timestep: Float32Array.of(400) };
  return (await runGraph(gpu, graph, given, weights))["y"]!;
}

test("an adapter's file says its rank, alpha and targets, and changes the model as it did in training", async () => {
  const model = await tinyTransformer();
  const lora = { rank: 6, alpha: 3, targets: ["to_q", "to_v", "ff.net.2"] };
  const file = await trained(model, { lora }, (run) => run.adapter());
  const { metadata, tensors } = await openSafetensors(memorySource({ f: file }), "f");
  expect(metadata["format"]).toBe("pt");
  expect(JSON.parse(metadata["lora_adapter_metadata"]!)).toMatchObject({
    "transformer.r": 6,
    "transformer.lora_alpha": 3,
    "transformer.target_modules": lora.targets,
  });
  expect([...tensors.keys()].sort()).toEqual(
    lora.targets
      .flatMap((target) => ["A", "B"].map((part) => `${target === "ff.net.2" ? target : `attn1.${target}`}.lora_${part}.weight`))
      .map((name) => `transformer.transformer_blocks.0.${name}`)
      .sort(),
  );
  expect(tensors.get("transformer.transformer_blocks.0.ff.net.2.lora_A.weight")!.shape).toEqual([6, 128]);
  const shapes = transformerWeights(model.config);
  const changes = loraChanges([{ ...(await loadLora(file)), scale: 1 }], shapes.keys(), (name) => shapes.get(name));
  expect([...changes.values()].flat().every(({ rank, factor }) => rank === 6 && factor === 0.5)).toBe(true);
  const [with_, without] = [await predicted(model, withLoras(model.weights, changes)), await predicted(model, model.weights)];
  expect(relativeL2(with_, without)).toBeGreaterThan(0.01);
  // The loss of the adapter beside the weights is that of the model that it is merged into.
  const sampling = { seed: 1, timesteps: "uniform", textDropout: 0, nullText: "zeros", conditionDropout: 0 } as const;
  const place = { seed: 1, step: 9, rank: 0, ranks: 1, count: 2 };
  const batch = await makeBatch(tinyClips(model, 2), model.config, sampling, place, 0, 1000);
  const lossOf = async (weights: WeightProvider, trained: Trained) =>
    (await trainSteps(model.gpu, { ...model, weights }, [[batch]], { trained, optimizer: { lr: 0 } })).loss[0]!;
  const initial = (await loadLora(file)).tensors;
  const beside = await lossOf(model.weights, loraParameters(shapes, { ...lora, initial }, new TorchGenerator(0)));
  const merged = await lossOf(withLoras(model.weights, changes), fullParameters(shapes.keys()));
  const before = await lossOf(model.weights, fullParameters(shapes.keys()));
  expect(Math.abs(beside / merged - 1)).toBeLessThan(1e-5);
  expect(Math.abs(beside / before - 1)).toBeGreaterThan(1e-3);
});

test("an adapter that was trained is trained further from its file", async () => {
  const model = await tinyTransformer();
  const lora = { rank: 4, alpha: 8 };
  const first = await trained(model, { lora }, (run) => run.adapter());
  const { tensors } = await loadLora(first);
  // Without a step that changes anything: the file comes back as it was.
  const again = await trained(model, { lora: { ...lora, initial: tensors }, optimizer: { lr: 0 } }, (run) => run.adapter());
  expect(again).toEqual(first);
  await expect(trained(model, { lora: { rank: 8, initial: tensors } }, (run) => run.adapter())).rejects.toThrow(
    /must be of rank 8, got 128/,
  );
});

test("a model's folder opens here and holds what was learned, or its average", async () => {
  const model = await tinyTransformer();
  const only = (name: string) => name.includes("attn1");
  const [files, average] = await trained(model, { full: only, ema: { decay: 0.5 } }, async (run) => [
    await run.transformer(),
    await run.transformer({ average: true }),
  ]);
  const open = async (of: Record<string, Uint8Array<ArrayBuffer>>) => {
    const index = { _class_name: "CogVideoXPipeline", transformer: ["diffusers", "CogVideoXTransformer3DModel"] };
    const folder = Object.fromEntries(Object.entries(of).map(([name, bytes]) => [`transformer/${name}`, bytes]));
    const source = memorySource({ "model_index.json": new TextEncoder().encode(JSON.stringify(index)), ...folder });
    return (await openCheckpoint(source)).component("transformer");
  };
  const component = await open(files);
  expect(component.config).toMatchObject({ ...TINY_CONFIGS.transformer });
  const read = await openSafetensors(memorySource({ f: files["diffusion_pytorch_model.safetensors"]! }), "f");
  for (const [name, { data, shape }] of Object.entries(model.values)) {
    const got = await read.read(name);
    expect([name, got.shape]).toEqual([name, shape]);
    const same = relativeL2(new Float32Array(got.bytes.buffer), data) < 1e-7;
    expect([name, same]).toEqual([name, !only(name)]);
  }
  const [now, mean, before] = [
    await predicted(model, ComponentWeights.open(component, "f32")),
    await predicted(model, ComponentWeights.open(await open(average), "f32")),
    await predicted(model, model.weights),
  ];
  expect(relativeL2(now, before)).toBeGreaterThan(0.01);
  expect(relativeL2(mean, before)).toBeLessThan(relativeL2(now, before));
  await trained(model, { full: true }, async (run) => {
    await expect(run.adapter()).rejects.toThrow(/got a run of the model; ask for transformer/);
    await expect(run.transformer({ average: true })).rejects.toThrow(/got a run without; begin it with ema/);
  });
});
