/** What a transformer sees besides noise: an image's, a control video's or a starting video's latents. */
import { CogwheelError } from "../errors.ts";
import type { VaeConfig } from "../models/vae/config.ts";
import type { LatentPosterior } from "../models/vae/posterior.ts";

/** Latents as the VAE has them, [n, C, F, h, w], to the transformer's [n, F, C, h, w], times `scale`. */
export function fromVae(latents: Float32Array, shape: readonly [number, number, number, number, number], scale: number): Float32Array {
  const [n, c, f, h, w] = shape;
  const plane = h * w;
  const out = new Float32Array(latents.length);
  for (let b = 0; b < n; b++) for (let i = 0; i < c; i++) for (let t = 0; t < f; t++) {
    const from = ((b * c + i) * f + t) * plane;
    const to = ((b * f + t) * c + i) * plane;
    for (let p = 0; p < plane; p++) out[to + p] = latents[from + p]! * scale;
  }
  return out;
}

/** The transformer's [n, F, C, h, w] to the VAE's [n, C, F − skip, h, w], times `scale`; the first frames are padding of 1.5 models. */
export function toVae(latents: Float32Array, s: { samples: number; frames: number; channels: number; height: number; width: number; skip: number }, scale: number): Float32Array {
  const plane = s.height * s.width;
  const frames = s.frames - s.skip;
  const out = new Float32Array(s.samples * s.channels * frames * plane);
  for (let n = 0; n < s.samples; n++) for (let f = 0; f < frames; f++) for (let c = 0; c < s.channels; c++) {
    const from = ((n * s.frames + f + s.skip) * s.channels + c) * plane;
    const to = ((n * s.channels + c) * frames + f) * plane;
    for (let i = 0; i < plane; i++) out[to + i] = latents[from + i]! * scale;
  }
  return out;
}

/**
 * The image's latents in the first latent frame, zeros in the others: [n, F, C, h, w]. 1.5's image model divides by the
 * scaling factor where the others multiply (`invert_scale_latents`), as its training did.
 */
export function imageCondition(posterior: LatentPosterior, noise: Float32Array, config: VaeConfig, frames: number): Float32Array {
  const [n, c, f, h, w] = posterior.shape;
  if (f !== 1) throw new CogwheelError("generate", `an image must encode to one latent frame, got ${f}; pass one picture`);
  const scale = config.invert_scale_latents ? 1 / config.scaling_factor : config.scaling_factor;
  const first = fromVae(posterior.sample(noise), posterior.shape, scale);
  const frame = c * h * w;
  const out = new Float32Array(n * frames * frame);
  for (let b = 0; b < n; b++) out.set(first.subarray(b * frame, (b + 1) * frame), b * frames * frame);
  return out;
}

/** Which steps a run from a video takes: the last `strength` of them. */
export function firstStep(steps: number, strength: number): number {
  if (!(strength > 0 && strength <= 1)) throw new CogwheelError("generate", `strength must be above 0 and at most 1, got ${strength}; 0.8 is the published advice`);
  const kept = Math.min(Math.trunc(steps * strength), steps);
  if (kept < 1) throw new CogwheelError("generate", `steps × strength must be at least 1, got ${steps} × ${strength}; ask for more steps`);
  return steps - kept;
}
