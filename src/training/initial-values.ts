/** What parameters hold before the first step: values of the checkpoint, however it stores them, or given ones. */
import type { Gpu } from "../gpu/gpu.ts";
import { packedBytes } from "../graph/packing.ts";
import type { States } from "../run/states.ts";
import type { WeightProvider } from "../run/weight-provider.ts";
import { WeightStore } from "../run/weight-store.ts";
import type { Parameter, Trained } from "./parameters.ts";
import { parameterNames, stateName } from "./update.ts";

/** Writes every parameter, one after another, and its average where one is kept. Means of gradients begin with zeros. */
export async function initialise(gpu: Gpu, weights: WeightProvider, trained: Trained, states: States, signal?: AbortSignal): Promise<void> {
  const { tensors } = states;
  for (const name of parameterNames(tensors.keys())) {
    const { shape, bytes } = tensors.get(name)!;
    signal?.throwIfAborted();
    const parameter: Parameter = { name, names: name.split("+"), shape };
    const values = trained.initial(parameter);
    if (values === "checkpoint") await withWeight(gpu, weights, parameter, (from) => copy(gpu, from, states.buffer(name), bytes), signal);
    else gpu.device.queue.writeBuffer(states.buffer(name), 0, values as Float32Array<ArrayBuffer>);
    const average = stateName("average", name);
    if (tensors.has(average)) copy(gpu, states.buffer(name), states.buffer(average), bytes);
  }
}

/** A weight as the device reads it, in f32 whatever the model computes in, to be used before it is freed. */
async function withWeight<T>(
  gpu: Gpu,
  weights: WeightProvider,
  { name, names, shape }: Parameter,
  use: (buffer: GPUBuffer, bytes: number) => T | Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  using store = new WeightStore(gpu, weights);
  const bytes = packedBytes(shape, "natural", "f32");
  await store.load([{ key: name, names, shape, packing: "natural", dtype: "f32", bytes }], {
    what: `preparing ${name} for training`,
    ...(signal ? { signal } : {}),
  });
  return await use(store.get(name), bytes);
}

/** The values of a weight in f32, however it is stored. */
export const weightValues = (gpu: Gpu, weights: WeightProvider, parameter: Parameter, signal?: AbortSignal): Promise<Float32Array> =>
  withWeight(gpu, weights, parameter, async (buffer, bytes) => new Float32Array(await gpu.read(buffer, 0, bytes, signal)), signal);

function copy(gpu: Gpu, from: GPUBuffer, to: GPUBuffer, bytes: number): void {
  const encoder = gpu.device.createCommandEncoder();
  encoder.copyBufferToBuffer(from, 0, to, 0, bytes);
  gpu.device.queue.submit([encoder.finish()]);
}
