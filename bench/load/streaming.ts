/**
 * A step whose layers are streamed from files beside one whose weights stay: transformer layers of 2B's width from a synthetic checkpoint.
 * On a CPU adapter reading and unpacking take the cores that the step computes with, so that the mark is their sum.
 */
import { ComponentWeights } from "../../src/checkpoint/component-weights.ts";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { writeSynthetic } from "../../src/cli/synthetic/write.ts";
import { numberToF16 } from "../../src/base/half.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { Graph } from "../../src/graph/graph.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { denoiseGraph } from "../../src/models/cogvideox/model.ts";
import { publishedModels, type PublishedModel } from "../../src/pipelines/cogvideox/published-models.ts";
import { compile, type Plan } from "../../src/plan/compile.ts";
import { layerOf } from "../../src/plan/slots.ts";
import { Program } from "../../src/run/program.ts";
import { WeightLoader } from "../../src/run/weight-loader.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { folderSource } from "../../src/sources/folder.ts";
import { summarise, type Summary } from "../measure/statistics.ts";

export interface Streaming {
  readonly adapter: string;
  readonly layers: number;
  readonly slots: number;
  /** Video and text tokens of both branches of guidance. */
  readonly tokens: number;
  /** Brought in a step. */
  readonly bytes: number;
  /** Milliseconds of a step with resident weights, of one whose layers are streamed, and of reading and unpacking them alone. */
  readonly resident: Summary;
  readonly streamed: Summary;
  readonly alone: Summary;
  /** Streamed over the sum of the two others, round by round. */
  readonly ofSum: Summary;
}

export interface StreamingOptions {
  readonly layers?: number;
  readonly slots?: number;
  readonly runs?: number;
  /** Latents, [frames, height, width]. */
  readonly latents?: readonly [number, number, number];
  /** Whose transformer. Default: 2B's. */
  readonly model?: PublishedModel;
}

/** @param folder an empty one, for the checkpoint */
export async function measureStreaming(gpu: Gpu, folder: string, options: StreamingOptions = {}): Promise<Streaming> {
  const { layers = 4, slots = 2, runs = 5, latents = [3, 8, 8], model = publishedModels["cogvideox-2b"] } = options;
  await writeSynthetic(model, folder, { only: ["transformer"], layers });
  await using checkpoint = await openCheckpoint(await folderSource(folder), { only: ["transformer"] });
  const component = checkpoint.component("transformer");
  const dtype = gpu.caps.f16 ? "f16" : "f32";
  const weights = await ComponentWeights.open(component, dtype);
  const config = parseTransformerConfig(component.config);
  const [frames, height, width] = latents;
  const shape = { samples: 1, frames, height, width, textLength: config.max_text_seq_length, guidance: true, stochastic: false };
  const plan = (stream: boolean): Plan =>
    compile(denoiseGraph(config, weights, shape, dtype), gpu.caps, {
      ...(stream ? { stream: (request) => /\.\d+$/.test(layerOf(request)), slots } : {}),
    });
  using store = new WeightStore(gpu, weights);
  const [stays, comes] = [plan(false), plan(true)];
  using resident = await Program.create(gpu, stays, store);
  using streamed = await Program.create(gpu, comes, store);

  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const begun = performance.now();
    await work();
    await gpu.idle();
    return performance.now() - begun;
  };
  const results: Float32Array[] = [];
  for (const program of [resident, streamed]) {
    for (const [name, tensor] of inputsOf(program.plan.graph)) program.write(name, drawn(tensor));
    await program.run(program === streamed ? { next: streamed } : {});
    results.push(await program.read("latents"));
  }
  if (results[0]!.some((value, i) => value !== results[1]![i]) || results[0]!.some((value) => !Number.isFinite(value)))
    throw new Error("a streamed step must give what a resident one gives");

  const requests = comes.slots.uploads.map(({ weight }) => weight);
  using target = gpu.buffer(
    "bench slot",
    Math.max(...requests.map(({ bytes }) => bytes)),
    GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
  );
  const bringAlone = async (): Promise<void> => {
    using loader = new WeightLoader(gpu, weights);
    for (const request of requests) await loader.load(request, target.buffer);
  };
  await timed(bringAlone);
  const ms = { resident: [] as number[], streamed: [] as number[], alone: [] as number[] };
  for (let i = 0; i < runs; i++) {
    ms.resident.push(await timed(() => resident.run()));
    // In a generation one step follows another, and the first layers come while the one before ends.
    await streamed.run({ next: streamed });
    await gpu.idle();
    ms.streamed.push(await timed(() => streamed.run({ next: streamed })));
    ms.alone.push(await timed(bringAlone));
  }
  return {
    adapter: gpu.name,
    layers,
    slots,
    tokens: 2 * (shape.textLength + (frames * height * width) / config.patch_size ** 2),
    bytes: comes.bytes.streamed,
    resident: summarise(ms.resident),
    streamed: summarise(ms.streamed),
    alone: summarise(ms.alone),
    ofSum: summarise(ms.streamed.map((own, i) => own / (ms.resident[i]! + ms.alone[i]!))),
  };
}

const inputsOf = (graph: Graph): (readonly [string, Tensor])[] => [...graph.inputs, ...graph.states];

/** Numbers between -1 and 1 that are the same every time. */
function drawn(tensor: Tensor): ArrayBufferView {
  const numbers = Float32Array.from({ length: tensor.size }, (_, i) => (Math.imul(i + 1, 0x9e3779b1) >>> 8) / 2 ** 23 - 1);
  return tensor.dtype === "f16" ? Uint16Array.from(numbers, numberToF16) : numbers;
}
