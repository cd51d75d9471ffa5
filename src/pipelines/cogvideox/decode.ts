/** Latents to frames. */
import { CogwheelError } from "../../base/errors.ts";
import type { DecodedFormat, VideoShape } from "../../models/vae/batches.ts";
import type { CausalVae, DecodedFrames, VaeRunOptions } from "../../models/vae/model.ts";
import { toVae } from "../latent-layout.ts";
import { latentFrames } from "../settings.ts";
import { textureOfFrame, texturesOfBuffer } from "../textures.ts";
import type { RgbaFrame } from "../../video/frame.ts";
import { rgbaFrames } from "../video.ts";
import type { GenerationRequest } from "./request.ts";
import { running, type Run } from "./running.ts";
import { exactTiling, holdVae, overWorkers } from "./vae.ts";

/** Latent frames in front that are dropped before decoding. */
export const padding = ({ model, settings, plan }: GenerationRequest): number =>
  plan.shape.frames - latentFrames(settings.frames, model.rules.temporal);

/** One sample's latents, as the VAE takes them. */
export interface SampleLatents {
  readonly sample: number;
  /** [1, C, F, h, w] */
  readonly z: Float32Array;
  readonly size: VideoShape;
  /** With the signal and the progress of this sample. */
  readonly options: VaeRunOptions;
}

/** Loads the VAE and decodes one sample after another: batches would need as much more memory, and are no faster. */
export async function decodeEach(
  run: Run,
  latents: Float32Array,
  decodeOne: (vae: CausalVae, latents: SampleLatents) => Promise<void>,
  format: DecodedFormat = "rgba",
): Promise<void> {
  const { request, clock } = run;
  const { shape } = request.plan;
  const { vae: config } = request.model.configs;
  const skip = padding(request);
  const size = { batch: 1, frames: shape.frames - skip, height: shape.height, width: shape.width };
  const z = toVae(latents, { ...shape, channels: config.latent_channels, skip }, 1 / config.scaling_factor);
  using held = await clock.time("load decoder", (report) => holdVae(run, "decode", size, report, format));
  await clock.time("decode", async (report) => {
    for (let sample = 0; sample < shape.samples; sample++)
      await decodeOne(held.part, {
        sample,
        z: z.subarray((sample * z.length) / shape.samples, ((sample + 1) * z.length) / shape.samples),
        size,
        options: { ...running(run), onProgress: (done) => report((sample + done) / shape.samples) },
      });
  });
}

/** The frames of every sample, or the textures that they were left in. */
export async function decode(run: Run, latents: Float32Array): Promise<{ samples: RgbaFrame[][]; textures: GPUTexture[][] }> {
  const samples: RgbaFrame[][] = [];
  const textures: GPUTexture[][] = [];
  try {
    await decodeEach(run, latents, async (vae, one) => {
      if (run.options.textures) {
        const kept: GPUTexture[] = [];
        textures.push(kept);
        await decodeToTextures(run, vae, one, kept);
      } else if (run.request.tiling === "reference" && !run.options.share?.clips) samples.push(await decodeTiles(run, vae, one));
      else samples.push(await decodeToFrames(run, vae, one));
    });
  } catch (error) {
    for (const texture of textures.flat()) texture.destroy();
    throw error;
  }
  return { samples, textures };
}

async function decodeToFrames(run: Run, vae: CausalVae, { sample, z, size, options }: SampleLatents): Promise<RgbaFrame[]> {
  const frames: RgbaFrame[] = [];
  await vae.decode(z, size, {
    ...options,
    ...(overWorkers(run, vae, "decoder") ?? exactly(run)),
    format: "rgba",
    onFrames: async (part) => {
      const some = framesIn(part);
      frames.push(...some);
      await run.options.onFrames?.(some, part.start, sample);
    },
  });
  return frames;
}

/** Into `kept`, so that what is there already can be destroyed when the rest fails. */
async function decodeToTextures(run: Run, vae: CausalVae, { z, size, options }: SampleLatents, kept: GPUTexture[]): Promise<void> {
  const { gpu } = run.request.model;
  if (run.request.tiling === "none")
    await vae.decode(z, size, {
      ...options,
      onDevice: (part) => {
        kept.push(...texturesOfBuffer(gpu, part));
      },
    });
  else
    await vae.decode(z, size, {
      ...options,
      ...exactly(run),
      format: "rgba",
      onFrames: (part) => {
        kept.push(...framesIn(part).map((frame) => textureOfFrame(gpu, frame)));
      },
    });
}

/** Reference tiling, which blends its tiles at the end. */
async function decodeTiles(run: Run, vae: CausalVae, { sample, z, size, options }: SampleLatents): Promise<RgbaFrame[]> {
  const { settings } = run.request;
  const frames = rgbaFrames(await vae.decode(z, size, { ...options, tiling: "reference" }));
  const { width, height } = frames[0]!;
  if (width !== settings.width || height !== settings.height)
    throw new CogwheelError(
      "generate",
      `reference tiling of this VAE gives ${width} × ${height} pixels in place of ${settings.width} × ${settings.height}, ` +
        "for its overlaps do not come out even; choose another size or tiling none",
    );
  await run.options.onFrames?.(frames, 0, sample);
  return frames;
}

const exactly = ({ request }: Run) => (request.tiling === "exact" ? { tiling: exactTiling(request, "decoder") } : {});

const framesIn = ({ frames, height, width, data }: DecodedFrames): RgbaFrame[] =>
  Array.from({ length: frames }, (_, f) => ({
    width,
    height,
    data: (data as Uint8Array).subarray(f * width * height * 4, (f + 1) * width * height * 4),
  }));
