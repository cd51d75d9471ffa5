/** What a transformer sees besides noise: an image's, a control video's or a starting video's latents. */
import { CogwheelError } from "../../base/errors.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import type { LatentPosterior } from "../../models/vae/posterior.ts";
import { fitFrames } from "../../video/fit.ts";
import { fromVae } from "../latent-layout.ts";
import type { TaskInputs } from "../task.ts";

/**
 * The image's latents in the first latent frame, zeros in the others: [n, F, C, h, w], for n draws of noise.
 * @param scale see `imageScale`
 */
export function imageCondition(posterior: LatentPosterior, draws: readonly Float32Array[], scale: number, frames: number): Float32Array {
  const [n, c, f, h, w] = posterior.shape;
  if (n !== 1 || f !== 1)
    throw new CogwheelError("generate", `an image must encode to one latent frame, got ${n} × ${f}; pass one picture`);
  const frame = c * h * w;
  const out = new Float32Array(draws.length * frames * frame);
  for (const [i, noise] of draws.entries()) out.set(fromVae(posterior.sample(noise), posterior.shape, scale), i * frames * frame);
  return out;
}

/**
 * What an image's latents are multiplied with. 1.5's image model divides by the scaling factor where the others multiply
 * (`invert_scale_latents`), as diffusers has it; its authors' own sampler does neither (see docs/profiles.md).
 */
export function imageScale(config: VaeConfig, inverted: "inverse" | "none" = "inverse"): number {
  if (!config.invert_scale_latents) return config.scaling_factor;
  return inverted === "inverse" ? 1 / config.scaling_factor : 1;
}

/**
 * What an inpainting checkpoint sees beside the noise, [1, F, 1 + C, h, w]: what is kept (1 where it is, times the scaling factor),
 * then the latents of the video with its masked parts at −1. As VideoX-Fun's pipeline has it: the first latent frame's mask is
 * resized from the first frame alone, the others from the rest.
 * @param latents [F, C, h, w], already scaled
 * @param kept [T, H, W]: 1 where the video is kept, 0 where it is made anew
 */
export function inpaintCondition(
  latents: Float32Array,
  kept: Float32Array,
  s: { frames: number; channels: number; height: number; width: number; videoFrames: number; videoHeight: number; videoWidth: number },
  scale: number,
): Float32Array {
  const plane = s.height * s.width;
  const from = s.videoHeight * s.videoWidth;
  const first = resizeLinear(kept.subarray(0, from), [1, s.videoHeight, s.videoWidth], [1, s.height, s.width]);
  const rest =
    s.frames > 1
      ? resizeLinear(kept.subarray(from), [s.videoFrames - 1, s.videoHeight, s.videoWidth], [s.frames - 1, s.height, s.width])
      : new Float32Array(0);
  const out = new Float32Array(s.frames * (1 + s.channels) * plane);
  for (let f = 0; f < s.frames; f++) {
    const at = f * (1 + s.channels) * plane;
    for (let i = 0; i < plane; i++) out[at + i] = (f ? rest[(f - 1) * plane + i]! : first[i]!) * scale;
    out.set(latents.subarray(f * s.channels * plane, (f + 1) * s.channels * plane), at + plane);
  }
  return out;
}

type Size3 = readonly [number, number, number];

/** Trilinear, between pixel centres (`align_corners=False`), edges repeated. */
export function resizeLinear(data: Float32Array, from: Size3, to: Size3): Float32Array {
  const axes = from.map((n, axis) =>
    Array.from({ length: to[axis]! }, (_, i) => {
      const x = Math.max(0, ((i + 0.5) * n) / to[axis]! - 0.5);
      const low = Math.min(n - 1, Math.floor(x));
      return { low, high: Math.min(n - 1, low + 1), t: x - low };
    }),
  );
  const [, h, w] = from;
  const out = new Float32Array(to[0] * to[1] * to[2]);
  let at = 0;
  for (const z of axes[0]!)
    for (const y of axes[1]!)
      for (const x of axes[2]!) {
        const line = (f: number, r: number) => data[(f * h + r) * w + x.low]! * (1 - x.t) + data[(f * h + r) * w + x.high]! * x.t;
        const layer = (f: number) => line(f, y.low) * (1 - y.t) + line(f, y.high) * y.t;
        out[at++] = layer(z.low) * (1 - z.t) + layer(z.high) * z.t;
      }
  return out;
}

/** The masked video and what is kept of it, [T, H, W] of 0 and 1; an image is a video of which only the first frame is kept. */
export function inpaintFrames(
  { image, video, mask }: TaskInputs,
  frames: number,
  size: { width: number; height: number },
): { video: Float32Array; kept: Float32Array } {
  const plane = size.width * size.height;
  const pixels = image ? repeatFrames(fitFrames([image], size), frames, plane) : fitFrames(video!.slice(0, frames), size);
  const kept = new Float32Array(frames * plane);
  if (image) kept.fill(1, 0, plane);
  else {
    const white = fitFrames(mask!.length === 1 ? mask! : mask!.slice(0, frames), size);
    const per = mask!.length === 1 ? 1 : frames;
    // The mean of the three channels decides, at half.
    for (let t = 0; t < frames; t++)
      for (let i = 0; i < plane; i++) {
        const at = (c: number) => white[(c * per + Math.min(t, per - 1)) * plane + i]!;
        kept[t * plane + i] = at(0) + at(1) + at(2) < 0 ? 1 : 0;
      }
  }
  for (let c = 0; c < 3; c++) for (let i = 0; i < frames * plane; i++) if (!kept[i]) pixels[c * frames * plane + i] = -1;
  return { video: pixels, kept };
}

function repeatFrames(frame: Float32Array, frames: number, plane: number): Float32Array {
  const out = new Float32Array(frame.length * frames);
  for (let c = 0; c < 3; c++)
    for (let t = 0; t < frames; t++) out.set(frame.subarray(c * plane, (c + 1) * plane), (c * frames + t) * plane);
  return out;
}
