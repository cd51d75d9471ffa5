/** posterior_sample: latent channels that pad, batches, log-variances beyond the clamp, windows. */
import { posteriorSample as kernel } from "#kernels";
import { posteriorSample } from "../../../ops/posterior_sample.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { padChannels, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export type PosteriorSizes = readonly [B: number, F: number, H: number, W: number, Z: number];

export function posteriorSampleReference(Z: number, { moments, noise }: Values): Float64Array {
  const z = Float64Array.from(noise!, (n, i) => {
    const at = Math.floor(i / Z) * 2 * Z + (i % Z);
    return moments![at]! + Math.exp(Math.min(20, Math.max(-30, moments![at + Z]!)) / 2) * n;
  });
  return padChannels(z, Z);
}

function one(size: Size, shape: PosteriorSizes, scale = 1, limits?: OpCase["limits"]): OpCase {
  const [B, F, H, W, Z] = shape;
  return {
    size,
    name: `[${shape.join(", ")}] of ±${scale}${limits ? ", in windows" : ""}`,
    half: ["moments"],
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      z: posteriorSample(draw.video("moments", [B, F, H, W, 2 * Z], { scale }), draw.video("noise", shape), { latents: Z }),
    }),
    reference: (values) => ({ z: posteriorSampleReference(Z, values) }),
  };
}

export const posteriorSampleCases: OpCases = {
  op: "posterior_sample",
  kernels: oneKernel(kernel),
  tolerance: { f32: 2e-6, f16: 2e-6 },
  cases: [
    one("tiny", [1, 1, 1, 1, 1]),
    one("odd", [2, 3, 5, 7, 4]),
    one("odd", [1, 2, 3, 5, 3], 40),
    one("odd", [2, 3, 9, 7, 4], 2, { maxBindingBytes: 2048, maxGrid: 3 }),
    one("model", [1, 5, 32, 32, 16]),
  ],
};
