/**
 * The image that an image-to-video model sees while it learns: its clip's first frame with noise of drawn strength, exp of a normal of mean
 * −3 and deviation 0.5, as CogVideoX was trained. The noise lies in the pixels, so each draw is an encoding of its own: some are made
 * beforehand, and every use takes one of them.
 */
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { EncodeCall, Encoders } from "../pipelines/cogvideox/encoders.ts";
import { imageScale } from "../pipelines/cogvideox/conditioning.ts";
import { fromVae } from "../pipelines/latent-layout.ts";
import { LatentPosterior } from "../models/vae/posterior.ts";
import { drawsOf } from "../training/draws.ts";
import { fitFrames } from "../video/fit.ts";
import type { Frame } from "../video/frame.ts";
import type { PreparedClip } from "./prepared.ts";
import { type ClipStore, posteriorTensors, type StoredTensors } from "./store.ts";

/** The posterior of a clip's first frame with a noise. What is drawn follows from the draw's number alone, so it is kept for any run. */
export async function encodeImage(encoders: Encoders, frame: Frame, n: number, call: EncodeCall): Promise<StoredTensors> {
  const { width, height } = frame;
  const pixels = fitFrames([frame], { width, height });
  const { generator } = drawsOf(0, "image noise", n);
  const sigma = Math.exp(-3 + 0.5 * generator.randn([1])[0]!);
  const noise = generator.randn([pixels.length]);
  return posteriorTensors(
    await encoders.clip(
      pixels.map((value, i) => value + sigma * noise[i]!),
      { frames: 1, width, height },
      call,
    ),
  );
}

/** [1, C, H, W]: the latents of one of the noised images, another draw of its posterior each time. */
export async function imageLatents(
  { configs }: CogVideoX,
  store: ClipStore,
  { images }: PreparedClip,
  seed: number,
  epoch: number,
  index: number,
): Promise<Float32Array> {
  const draws = drawsOf(seed, "image", epoch, index);
  const { mean, logvar } = await store.read(images[draws.below(images.length)]!);
  const [channels, , height, width] = mean!.shape as [number, number, number, number];
  const shape = [1, channels, 1, height, width] as const;
  const posterior = new LatentPosterior(mean!.data, logvar!.data, shape);
  return fromVae(posterior.sample(draws.generator.randn([...shape])), shape, imageScale(configs.vae));
}
