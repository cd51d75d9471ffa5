/** Prepared clips as samples of a training run: shuffled anew in every epoch, and each time another draw of a clip's posterior. */
import { CogwheelError } from "../base/errors.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { fromVae } from "../pipelines/latent-layout.ts";
import { LatentPosterior } from "../models/vae/posterior.ts";
import { drawsOf } from "../training/draws.ts";
import type { LateSample, TrainingSample } from "../training/training-sample.ts";
import type { PreparedClip, PreparedClips } from "./prepared.ts";

export interface ClipSampleOptions {
  /** The run's: decides the order and the draws. */
  readonly seed: number;
  /**
   * Share of pictures, clips of one latent frame, among what is learned from: each epoch has every film once, and pictures between them.
   * 1: pictures alone, 0: none. Default: as the data has them.
   */
  readonly pictures?: number;
}

/** What `train` takes as its data: sizes, and what is kept is read when a clip is used. */
export function clipSamples(
  model: CogVideoX,
  { clips, store }: PreparedClips,
  { seed, pictures }: ClipSampleOptions,
): (epoch: number) => AsyncGenerator<LateSample, void, void> {
  const scale = model.configs.vae.scaling_factor;
  const load = async (clip: PreparedClip, epoch: number, index: number): Promise<TrainingSample> => {
    const [{ mean, logvar }, { text }] = [await store.read(clip.latents), await store.read(clip.text)];
    const [channels, frames, height, width] = mean!.shape as [number, number, number, number];
    const shape = [1, channels, frames, height, width] as const;
    const posterior = new LatentPosterior(mean!.data, logvar!.data, shape);
    const noise = drawsOf(seed, "posterior", epoch, index).generator.randn([...shape]);
    return {
      latents: fromVae(posterior.sample(noise), shape, scale),
      shape: [frames, channels, height, width],
      text: text!.data,
      ...(clip.images.length
        ? { condition: async () => (await import("./images.ts")).imageLatents(model, store, clip, seed, epoch, index) }
        : {}),
    };
  };
  const sampleOf = async (clip: PreparedClip, epoch: number, index: number): Promise<LateSample> => {
    const [channels, frames, height, width] = (await store.shapeOf(clip.latents, "mean")) as [number, number, number, number];
    const [textTokens] = (await store.shapeOf(clip.text, "text")) as [number, number];
    return { shape: [frames, channels, height, width], textTokens, load: () => load(clip, epoch, index) };
  };
  let kinds: Promise<Kinds> | undefined;
  return async function* (epoch) {
    const order =
      pictures === undefined
        ? drawsOf(seed, "order", epoch).permutation(clips.length)
        : mixedOrder(await (kinds ??= kindsOf({ clips, store }, pictures)), pictures, seed, epoch);
    for (const index of order) yield await sampleOf(clips[index]!, epoch, index);
  };
}

/** Numbers of films and of pictures among clips. */
export interface Kinds {
  readonly films: readonly number[];
  readonly pictures: readonly number[];
}

/** Throws where a share takes films or pictures that are not there. */
export async function kindsOf({ clips, store }: Pick<PreparedClips, "clips" | "store">, share: number): Promise<Kinds> {
  const frames = await Promise.all(clips.map(async ({ latents }) => (await store.shapeOf(latents, "mean"))[1]));
  const numbers = (take: (frames: number) => boolean): number[] => frames.flatMap((n, i) => (take(n!) ? [i] : []));
  const kinds = { films: numbers((n) => n > 1), pictures: numbers((n) => n === 1) };
  const without = share > 0 && kinds.pictures.length === 0 ? "pictures" : share < 1 && kinds.films.length === 0 ? "films" : undefined;
  if (without)
    throw new CogwheelError(
      "data",
      `a share of pictures of ${share} takes ${share > 0 && share < 1 ? "films and pictures" : without}, got ${kinds.films.length} films ` +
        `and ${kinds.pictures.length} pictures; add ${without} to the data, or leave the share out`,
    );
  return kinds;
}

/**
 * An epoch's clips by number: the films shuffled, and pictures between them so that their share holds at every place. Pictures have epochs
 * of their own, which go on from one epoch of the films to the next.
 */
export function mixedOrder({ films, pictures }: Kinds, share: number, seed: number, epoch: number): number[] {
  if (share === 1)
    return drawsOf(seed, "order", epoch)
      .permutation(pictures.length)
      .map((i) => pictures[i]!);
  const shown = drawsOf(seed, "order", epoch)
    .permutation(films.length)
    .map((i) => films[i]!);
  if (share === 0) return shown;
  // Pictures behind the first n films of the run.
  const upTo = (n: number): number => Math.floor((n * share) / (1 - share));
  const orders = new Map<number, number[]>();
  const picture = (n: number): number => {
    const round = Math.floor(n / pictures.length);
    if (!orders.has(round)) orders.set(round, drawsOf(seed, "pictures", round).permutation(pictures.length));
    return pictures[orders.get(round)![n % pictures.length]!]!;
  };
  return shown.flatMap((film, i) => {
    const n = epoch * films.length + i;
    return [film, ...Array.from({ length: upTo(n + 1) - upTo(n) }, (_, j) => picture(upTo(n) + j))];
  });
}

/** What stands for no text: the encoding of "". */
export const emptyText = async ({ store, emptyText }: PreparedClips): Promise<Float32Array> => (await store.read(emptyText))["text"]!.data;
