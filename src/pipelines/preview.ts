/**
 * A cheap preview: latents to colours by a linear map, one pixel a latent pixel, one frame a latent frame.
 *
 * The map is the VAE's own, found by asking it: it encodes a few small pictures of coloured rectangles, and least squares tell how a latent
 * vector becomes a colour. So every checkpoint has its map and none has to bring one. On videos of the embedded checkpoint it is off by
 * 0.064 (root mean square, of 0…1), where a map fitted to those very videos is off by 0.048; asking the decoder about random latents in
 * place of the encoder about pictures gave 0.16.
 */
import type { CausalVae } from "../models/vae/model.ts";
import { spatialRatio } from "../models/vae/config.ts";
import { TorchGenerator } from "../diffusion/torch-random.ts";
import type { StepCoefficients } from "../diffusion/scheduler.ts";
import type { DenoiseState } from "../models/cogvideox/model.ts";
import type { RgbaFrame } from "../video/frame.ts";

/** [C + 1][3]: red, green and blue of 0…1 for each latent channel, the constant last. */
export type LatentColors = readonly (readonly number[])[];

/** Pictures, latent pixels of a picture's side, rectangles on each. */
const PICTURES = 16;
const SIDE = 8;
const RECTANGLES = 3;

/** Asks a VAE for its colours. Takes as long as encoding 16 pictures of 8 × 8 latent pixels. */
export async function probeColors(vae: CausalVae, signal?: AbortSignal): Promise<LatentColors> {
  const ratio = spatialRatio(vae.config);
  const side = SIDE * ratio;
  const pixels = pictures(side, vae.config.in_channels);
  const posterior = await vae.encode(pixels, { batch: PICTURES, frames: 1, height: side, width: side }, signal ? { signal } : {});
  const latents = posterior.mode();
  const channels = posterior.shape[1];
  const rows: number[][] = [];
  const colors: number[][] = [];
  for (let b = 0; b < PICTURES; b++)
    for (let y = 0; y < SIDE; y++)
      for (let x = 0; x < SIDE; x++) {
        rows.push([
          ...Array.from({ length: channels }, (_, k) => latents[((b * channels + k) * SIDE + y) * SIDE + x]! * vae.config.scaling_factor),
          1,
        ]);
        colors.push(
          [0, 1, 2].map((c) => {
            let sum = 0;
            for (let v = 0; v < ratio; v++)
              for (let u = 0; u < ratio; u++)
                sum += pixels[((b * vae.config.in_channels + c) * side + y * ratio + v) * side + x * ratio + u]!;
            return sum / ratio ** 2 / 2 + 0.5;
          }),
        );
      }
  return leastSquares(rows, colors);
}

/**
 * [PICTURES, channels, 1, side, side] in −1…1: rectangles over a ground, in colours of which
 * half of the values are extremes. Always the same.
 */
function pictures(side: number, channels: number): Float32Array {
  const generator = new TorchGenerator(0);
  const uniform = (): number => generator.random() / 2 ** 32;
  const color = (): number => (uniform() < 0.5 ? Math.round(uniform()) * 2 - 1 : uniform() * 2 - 1);
  const out = new Float32Array(PICTURES * channels * side * side);
  const paint = (picture: number, left: number, top: number, width: number, height: number): void => {
    for (let c = 0; c < channels; c++) {
      const value = color();
      for (let y = Math.max(0, Math.floor(top)); y < Math.min(side, top + height); y++) {
        const row = ((picture * channels + c) * side + y) * side;
        out.fill(value, row + Math.max(0, Math.floor(left)), row + Math.max(0, Math.min(side, Math.ceil(left + width))));
      }
    }
  };
  for (let picture = 0; picture < PICTURES; picture++) {
    paint(picture, 0, 0, side, side);
    for (let i = 0; i < RECTANGLES; i++) {
      const [width, height] = [side * (0.125 + 0.625 * uniform()), side * (0.125 + 0.625 * uniform())];
      paint(picture, side * uniform() - width / 2, side * uniform() - height / 2, width, height);
    }
  }
  return out;
}

/** Coefficients x [n][m] that bring rows [r][n] · x nearest to values [r][m]; slightly damped, so that it always has a solution. */
export function leastSquares(rows: readonly (readonly number[])[], values: readonly (readonly number[])[]): number[][] {
  const n = rows[0]!.length;
  const system = Array.from({ length: n }, (_, i) => [
    ...Array.from({ length: n }, (_, j) => rows.reduce((sum, row) => sum + row[i]! * row[j]!, i === j ? 1e-6 * rows.length : 0)),
    ...values[0]!.map((_, k) => rows.reduce((sum, row, r) => sum + row[i]! * values[r]![k]!, 0)),
  ]);
  // Gauss–Jordan; the matrix is positive definite, so every pivot is above zero.
  for (let i = 0; i < n; i++) {
    const pivot = system[i]!;
    for (let r = 0; r < n; r++) {
      if (r === i) continue;
      const factor = system[r]![i]! / pivot[i]!;
      for (let c = i; c < pivot.length; c++) system[r]![c]! -= factor * pivot[c]!;
    }
  }
  return system.map((row, i) => row.slice(n).map((v) => v / row[i]!));
}

/**
 * The clean video as it looks after a step: what the sampler itself took it for. DPM keeps it; DDIM's follows from the latents before
 * and after, for next = keep · before + step · clean.
 */
export function cleanLatents(
  before: Float32Array,
  after: DenoiseState,
  { keep, step, oldStep, noiseStep }: StepCoefficients,
): Float32Array {
  if (after.original) return after.original;
  if (step === 0 || oldStep !== 0 || noiseStep !== 0) return after.latents;
  return after.latents.map((v, i) => (v - keep * before[i]!) / step);
}

/** Frames of one sample's latents [F, C, h, w] (scaled, as the transformer has them); the first `skip` frames are padding. */
export function previewFrames(
  latents: Float32Array,
  s: { frames: number; channels: number; height: number; width: number; skip: number },
  colors: LatentColors,
): RgbaFrame[] {
  const plane = s.height * s.width;
  return Array.from({ length: s.frames - s.skip }, (_, f) => {
    const data = new Uint8ClampedArray(4 * plane).fill(255);
    const from = (f + s.skip) * s.channels * plane;
    for (let i = 0; i < plane; i++) {
      for (let c = 0; c < 3; c++) {
        let v = colors[s.channels]![c]!;
        for (let k = 0; k < s.channels; k++) v += latents[from + k * plane + i]! * colors[k]![c]!;
        data[4 * i + c] = 255 * v; // clamps and rounds
      }
    }
    return { width: s.width, height: s.height, data: new Uint8Array(data.buffer) };
  });
}
