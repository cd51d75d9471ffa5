/** posterior_sample_gradient: latent channels that pad, batches, log-variances beyond the clamp, windows. */
import { posteriorSampleGradient as kernel } from "#kernels";
import { posteriorSampleGradient } from "../../../ops/posterior_sample_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { padChannels, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import type { PosteriorSizes } from "./posterior_sample.ts";

export function posteriorSampleGradientReference(Z: number, { moments, noise, dz }: Values): Float64Array {
  const dmoments = new Float64Array(moments!.length);
  for (const [i, g] of dz!.entries()) {
    const at = Math.floor(i / Z) * 2 * Z + (i % Z);
    const logvar = moments![at + Z]!;
    dmoments[at] = g;
    dmoments[at + Z] = logvar < -30 || logvar > 20 ? 0 : (g * Math.exp(logvar / 2) * noise![i]!) / 2;
  }
  return padChannels(dmoments, 2 * Z);
}

function one(size: Size, shape: PosteriorSizes, scale = 1, limits?: OpCase["limits"]): OpCase {
  const [B, F, H, W, Z] = shape;
  return {
    size,
    name: `[${shape.join(", ")}] of ±${scale}${limits ? ", in windows" : ""}`,
    half: ["moments", "dz"],
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      dmoments: posteriorSampleGradient(
        { moments: draw.video("moments", [B, F, H, W, 2 * Z], { scale }), noise: draw.video("noise", shape), dz: draw.video("dz", shape) },
        { latents: Z },
      ),
    }),
    reference: (values) => ({ dmoments: posteriorSampleGradientReference(Z, values) }),
  };
}

export const posteriorSampleGradientCases: OpCases = {
  op: "posterior_sample_gradient",
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
