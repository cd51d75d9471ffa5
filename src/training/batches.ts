/** The stream of batches: samples in a shuffled order, put together by size. */
import { CogwheelError } from "../base/errors.ts";
import type { TransformerConfig } from "../models/cogvideox/config.ts";
import { shapeKey } from "./batch.ts";
import { drawsOf } from "./draws.ts";
import { priorSeed, withPrior } from "./prior/stream.ts";
import type { GivenSample, LateSample, StreamedSample } from "./training-sample.ts";
import { checkSample, shapeOf } from "./sample.ts";

/**
 * Samples to learn from. A list is shuffled in every epoch and has no end. A function gives each epoch's samples in the order in which they
 * are used, the same for the same epoch each time that it is asked; what else can be iterated over is gone through once.
 */
export type DataOf<S> = readonly S[] | ((epoch: number) => Iterable<S> | AsyncIterable<S>) | Iterable<S> | AsyncIterable<S>;

/** What a transformer learns from. */
export type TrainingData = DataOf<GivenSample>;

/** Samples of what the model is to keep, among those that it learns. */
export interface PriorData {
  readonly data: TrainingData;
  /** Of all samples; above 0 and below 1. */
  readonly share: number;
}

/** Batches of `clips` samples of one size, of a transformer's data. */
export function batchesOf(
  data: TrainingData,
  c: TransformerConfig,
  { clips, seed, prior }: { clips: number; seed: number; prior?: PriorData | undefined },
): AsyncGenerator<readonly StreamedSample[], void, void> {
  return groupsOf(samplesOf(data, c, seed, prior), clips, (sample) => shapeKey(shapeOf(sample, c, clips)));
}

/**
 * Samples, checked, epoch after epoch; of what is gone through once no longer than it lasts. One that is loaded late is checked then.
 * @param prior is mixed in: behind n samples stand ⌊n · share / (1 − share)⌋ of it, which have epochs of their own
 */
export function samplesOf(
  data: TrainingData,
  c: TransformerConfig,
  seed: number,
  prior?: PriorData,
): AsyncGenerator<StreamedSample, void, void> {
  const own = checkedSamples(data, c, seed, "");
  return prior ? withPrior(own, checkedSamples(prior.data, c, priorSeed(seed), "prior "), prior.share) : own;
}

/** @param of what messages put before a sample's name */
const checkedSamples = (data: TrainingData, c: TransformerConfig, seed: number, of: string): AsyncGenerator<GivenSample, void, void> =>
  epochsOf(data, seed, (sample, name) => {
    if ("load" in sample) return checkedLate(sample, c, of + name);
    checkSample(sample, c, of + name);
    return sample;
  });

/**
 * Groups of so many samples of one kind. A sample waits until there are enough of its kind, over the end of an epoch if need be, so none is
 * left out. The same samples give the same groups: a run that goes on after a break drops those that it has learned from.
 */
export async function* groupsOf<S>(
  samples: AsyncIterable<S>,
  count: number,
  kindOf: (sample: S) => string,
): AsyncGenerator<readonly S[], void, void> {
  const waiting = new Map<string, S[]>();
  for await (const sample of samples) {
    const kind = kindOf(sample);
    const bin = [...(waiting.get(kind) ?? []), sample];
    if (bin.length === count) {
      waiting.delete(kind);
      yield bin;
    } else waiting.set(kind, bin);
  }
}

/**
 * Samples of any model, epoch after epoch.
 * @param checked throws for a sample that the model does not take, by the name that it is given; gives one that is used in its place
 */
export async function* epochsOf<S extends object>(
  data: DataOf<S>,
  seed: number,
  checked: (sample: S, name: string) => S,
): AsyncGenerator<S, void, void> {
  const known = new WeakSet<S>();
  for (let epoch = 0; ; epoch++) {
    let count = 0;
    for await (const sample of epochOf(data, seed, epoch)) {
      count++;
      if (known.has(sample)) {
        yield sample;
        continue;
      }
      const made = checked(sample, `sample ${count} of epoch ${epoch + 1}`);
      // One that stands for another is made anew for each use.
      if (made === sample) known.add(sample);
      yield made;
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

function epochOf<S>(data: DataOf<S>, seed: number, epoch: number): Iterable<S> | AsyncIterable<S> {
  if (typeof data === "function") return data(epoch);
  if (!Array.isArray(data)) return data as Iterable<S> | AsyncIterable<S>;
  const list = data as readonly S[];
  return drawsOf(seed, "order", epoch)
    .permutation(list.length)
    .map((i) => list[i]!);
}
