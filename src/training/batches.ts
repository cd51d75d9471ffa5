/** The stream of batches: samples in a shuffled order, put together by size. */
import { CogwheelError } from "../base/errors.ts";
import type { TransformerConfig } from "../models/cogvideox/config.ts";
import { shapeKey } from "./batch.ts";
import { drawsOf } from "./draws.ts";
import { checkSample, shapeOf, type TrainingSample } from "./sample.ts";

/**
 * Samples to learn from. A list is shuffled in every epoch and has no end. A function gives each epoch's samples in the order in which they
 * are used, the same for the same epoch each time that it is asked; what else can be iterated over is gone through once.
 */
export type TrainingData =
  | readonly TrainingSample[]
  | ((epoch: number) => Iterable<TrainingSample> | AsyncIterable<TrainingSample>)
  | Iterable<TrainingSample>
  | AsyncIterable<TrainingSample>;

/**
 * Batches of `clips` samples of one size. A sample waits until there are enough of its size, over the end of an epoch if need be, so none
 * is left out. The same data and seed give the same batches: a run that goes on after a break drops those that it has learned from.
 */
export async function* batchesOf(
  data: TrainingData,
  c: TransformerConfig,
  { clips, seed }: { clips: number; seed: number },
): AsyncGenerator<readonly TrainingSample[], void, void> {
  const waiting = new Map<string, TrainingSample[]>();
  for await (const sample of samplesOf(data, c, seed)) {
    const key = shapeKey(shapeOf(sample, c, clips));
    const bin = [...(waiting.get(key) ?? []), sample];
    if (bin.length === clips) {
      waiting.delete(key);
      yield bin;
    } else waiting.set(key, bin);
  }
}

/** Samples, checked, epoch after epoch; of what is gone through once no longer than it lasts. */
export async function* samplesOf(data: TrainingData, c: TransformerConfig, seed: number): AsyncGenerator<TrainingSample, void, void> {
  const known = new WeakSet<TrainingSample>();
  for (let epoch = 0; ; epoch++) {
    let count = 0;
    for await (const sample of epochOf(data, seed, epoch)) {
      if (!known.has(sample)) checkSample(sample, c, `sample ${count + 1} of epoch ${epoch + 1}`);
      known.add(sample);
      count++;
      yield sample;
    }
    if (count === 0)
      throw new CogwheelError("training", `an epoch must have at least one sample, got none in epoch ${epoch + 1}; give some`);
    if (!Array.isArray(data) && typeof data !== "function") return;
  }
}

function epochOf(data: TrainingData, seed: number, epoch: number): Iterable<TrainingSample> | AsyncIterable<TrainingSample> {
  if (typeof data === "function") return data(epoch);
  if (!Array.isArray(data)) return data as Iterable<TrainingSample> | AsyncIterable<TrainingSample>;
  const list = data as readonly TrainingSample[];
  return drawsOf(seed, "order", epoch)
    .permutation(list.length)
    .map((i) => list[i]!);
}
