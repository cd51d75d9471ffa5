/** Prepared clips as samples of a training run: shuffled anew in every epoch, and each time another draw of a clip's posterior. */
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { fromVae } from "../pipelines/latent-layout.ts";
import { LatentPosterior } from "../models/vae/posterior.ts";
import { drawsOf } from "../training/draws.ts";
import type { TrainingSample } from "../training/sample.ts";
import type { PreparedClip, PreparedClips } from "./prepared.ts";

/** What `train` takes as its data. @param seed the run's, which decides the order and the draws */
export function clipSamples(
  model: CogVideoX,
  { clips, store }: PreparedClips,
  { seed }: { readonly seed: number },
): (epoch: number) => AsyncGenerator<TrainingSample, void, void> {
  const scale = model.configs.vae.scaling_factor;
  const sampleOf = async (clip: PreparedClip, epoch: number, index: number): Promise<TrainingSample> => {
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
  return async function* (epoch) {
    for (const index of drawsOf(seed, "order", epoch).permutation(clips.length)) yield await sampleOf(clips[index]!, epoch, index);
  };
}

/** What stands for no text: the encoding of "". */
export const emptyText = async ({ store, emptyText }: PreparedClips): Promise<Float32Array> => (await store.read(emptyText))["text"]!.data;
