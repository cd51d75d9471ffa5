/** The stream of batches: samples in a shuffled order, put together by size. */
import { CogwheelError } from "../base/errors.ts";
import type { TransformerConfig } from "../models/cogvideox/config.ts";
import { shapeKey } from "./batch.ts";
import { drawsOf } from "./draws.ts";
import type { GivenSample, LateSample } from "./late-sample.ts";
import { checkSample, shapeOf } from "./sample.ts";

/**
 * Samples to learn from. A list is shuffled in every epoch and has no end. A function gives each epoch's samples in the order in which they
 * are used, the same for the same epoch each time that it is asked; what else can be iterated over is gone through once.
 */
export type TrainingData =
  | readonly GivenSample[]
  | ((epoch: number) => Iterable<GivenSample> | AsyncIterable<GivenSample>)
  | Iterable<GivenSample>
  | AsyncIterable<GivenSample>;

/**
 * Batches of `clips` samples of one size. A sample waits until there are enough of its size, over the end of an epoch if need be, so none
 * is left out. The same data and seed give the same batches: a run that goes on after a break drops those that it has learned from.
 */
export async function* batchesOf(
  data: TrainingData,
  c: TransformerConfig,
  { clips, seed }: { clips: number; seed: number },
): AsyncGenerator<readonly GivenSample[], void, void> {
  const waiting = new Map<string, GivenSample[]>();
  for await (const sample of samplesOf(data, c, seed)) {
    const key = shapeKey(shapeOf(sample, c, clips));
    const bin = [...(waiting.get(key) ?? []), sample];
    if (bin.length === clips) {
      waiting.delete(key);
      yield bin;
    } else waiting.set(key, bin);
  }
}

/** Samples, checked, epoch after epoch; of what is gone through once no longer than it lasts. One that is loaded late is checked then. */
export async function* samplesOf(data: TrainingData, c: TransformerConfig, seed: number): AsyncGenerator<GivenSample, void, void> {
  const known = new WeakSet<GivenSample>();
  for (let epoch = 0; ; epoch++) {
    let count = 0;
    for await (const sample of epochOf(data, seed, epoch)) {
      const name = `sample ${count + 1} of epoch ${epoch + 1}`;
      count++;
      if ("load" in sample) {
        yield checkedLate(sample, c, name);
        continue;
      }
      if (!known.has(sample)) checkSample(sample, c, name);
      known.add(sample);
      yield sample;
    }
    if (count === 0)
      throw new CogwheelError("training", `an epoch must have at least one sample, got none in epoch ${epoch + 1}; give some`);
    if (!Array.isArray(data) && typeof data !== "function") return;
  }
}

/** The sample, which throws where it is loaded and is not what its sizes say. */
function checkedLate({ shape, textTokens, load }: LateSample, c: TransformerConfig, name: string): LateSample {
  return {
    shape,
    textTokens,
    async load() {
      const sample = await load();
      checkSample(sample, c, name);
      const tokens = sample.text.length / c.text_embed_dim;
      if (String(sample.shape) !== String(shape) || tokens !== textTokens)
        throw new CogwheelError(
          "training",
          `${name}: a sample must have the sizes that were told of it, [${shape.join(", ")}] and ${textTokens} tokens, ` +
            `got [${sample.shape.join(", ")}] and ${tokens}; prepare it again`,
        );
      return sample;
    },
  };
}

function epochOf(data: TrainingData, seed: number, epoch: number): Iterable<GivenSample> | AsyncIterable<GivenSample> {
  if (typeof data === "function") return data(epoch);
  if (!Array.isArray(data)) return data as Iterable<GivenSample> | AsyncIterable<GivenSample>;
  const list = data as readonly GivenSample[];
  return drawsOf(seed, "order", epoch)
    .permutation(list.length)
    .map((i) => list[i]!);
}
