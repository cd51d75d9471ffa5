/** The frames that a generation begins from, encoded: an image, a video, a control video, or a video and its mask. */
import { CogwheelError } from "../../base/errors.ts";
import type { LatentPosterior } from "../../models/vae/posterior.ts";
import { fitFrames } from "../../video/fit.ts";
import { fromVae } from "../latent-layout.ts";
import { latentFrames } from "../settings.ts";
import { imageCondition, imageScale, inpaintCondition, inpaintFrames } from "./conditioning.ts";
import { concat, running, type Run } from "./running.ts";
import { exactTiling, holdVae, latentColors, overWorkers } from "./vae.ts";

/** What frames give to begin from, for each sample. */
interface Encoded {
  /** [n, F, C2, h, w] */
  readonly condition?: Float32Array;
  /** [n, F, C, h, w]: the video's latents, before noise. */
  readonly latents?: Float32Array;
}

/** For each sample what its frames give to begin from. */
export async function encodeFrames(run: Run): Promise<Encoded> {
  const { request, draws } = run;
  const { model, task, settings, plan } = request;
  const { shape, given, switches } = plan;
  const { vae: config } = model.configs;
  const { samples, frames, height, width } = shape;
  const channels = config.latent_channels;
  const latentsOf = task === "image" ? 1 : latentFrames(settings.frames, model.rules.temporal);
  // Control and inpainting take the posterior's mode, which draws nothing.
  const noises =
    task === "image" || task === "video"
      ? Array.from({ length: samples }, () => draws.posterior([1, channels, latentsOf, height, width]))
      : [];
  if (given && given.step > 0) return given.condition ? { condition: given.condition } : {};

  const { count, pixels, kept } = pixelsOf(run);
  const posteriors = await encode(run, count, pixels);
  const posterior = (sample: number) => posteriors[sample % posteriors.length]!;
  const each = (of: (posterior: LatentPosterior, sample: number) => Float32Array) =>
    concat(Array.from({ length: samples }, (_, i) => of(posterior(i), i)));
  if (task === "image") {
    const scale = imageScale(config, switches.invertedImageScale);
    return { condition: each((p, i) => imageCondition(p, [noises[i]!], scale, frames)) };
  }
  const scale = config.scaling_factor;
  if (task === "video") return { latents: each((p, i) => fromVae(p.sample(noises[i]!), p.shape, scale)) };
  const modes = posteriors.map((p) => fromVae(p.mode(), p.shape, scale));
  const size = { frames, channels, height, width, videoFrames: count, videoHeight: settings.height, videoWidth: settings.width };
  const conditions = kept ? modes.map((mode) => inpaintCondition(mode, kept, size, scale)) : modes;
  return { condition: each((_, i) => conditions[i % conditions.length]!) };
}

/** The frames to encode, [1, 3, count, H, W] in −1…1, and for inpainting what of them is kept. */
function pixelsOf({ request, options }: Run): { count: number; pixels: readonly Float32Array[]; kept?: Float32Array } {
  const { task, settings, plan } = request;
  if (plan.ready?.frames) return plan.ready.frames;
  const size = { width: settings.width, height: settings.height, ...(options.fit ? { fit: options.fit } : {}) };
  if (task === "image") return { count: 1, pixels: [fitFrames([options.image!], size)] };
  const count = settings.frames;
  if (task !== "inpaint") return { count, pixels: [fitFrames((options.video ?? options.control)!.slice(0, count), size)] };
  const { video, kept } = inpaintFrames(options, count, size);
  return { count, pixels: [video], kept };
}

async function encode(run: Run, frames: number, videos: readonly Float32Array[]): Promise<LatentPosterior[]> {
  const { request, options, clock } = run;
  const { model, settings, tiling, plan } = request;
  const size = { batch: 1, frames, height: settings.height, width: settings.width };
  using held = await clock.time("load encoder", (report) => holdVae(run, "encode", size, report));
  const posteriors: LatentPosterior[] = [];
  await clock.time("encode frames", async (report) => {
    for (const [i, video] of videos.entries())
      posteriors.push(
        await held.part.encode(video, size, {
          ...running(run),
          ...(overWorkers(run, held.part, "encoder") ??
            (tiling === "none" ? {} : { tiling: tiling === "exact" ? exactTiling(request, "encoder") : tiling })),
          onProgress: (done) => report((i + done) / videos.length),
        }),
      );
  });
  const [{ shape }] = posteriors as [LatentPosterior];
  if (shape[3] !== plan.shape.height || shape[4] !== plan.shape.width)
    throw new CogwheelError(
      "generate",
      `reference tiling of this VAE encodes ${settings.width} × ${settings.height} pixels as ${shape[4]} × ${shape[3]} latents ` +
        `in place of ${plan.shape.width} × ${plan.shape.height}, for its overlaps do not come out even; ` +
        "choose another size or tiling exact",
    );
  if (options.preview && !model.colors) await latentColors(run, held.part);
  return posteriors;
}
