/** kl_loss: latent channels that pad their moments, batches, log-variances beyond the clamp, windows. */
import { klLoss as kernel, sumParts } from "#kernels";
import { padTo } from "../../../graph/packing.ts";
import { klLoss } from "../../../ops/kl_loss.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { padChannels, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

type Five = readonly [number, number, number, number, number];

export function klLossReference([B, F, , , Z]: Five, { moments, settings }: Values): { loss: Float64Array; gradient: Float64Array } {
  const [share, slope] = [settings![0]!, settings![1]!];
  const width = moments!.length / (B * F);
  const loss = new Float64Array(B * F);
  const gradient = new Float64Array(moments!.length);
  for (let i = 0; i < moments!.length; i++) {
    if (i % (2 * Z) >= Z) continue;
    const [mean, given] = [moments![i]!, moments![i + Z]!];
    const logvar = Math.min(20, Math.max(-30, given));
    loss[Math.floor(i / width)]! += (share * (mean ** 2 + Math.exp(logvar) - 1 - logvar)) / 2;
    gradient[i] = slope * mean;
    gradient[i + Z] = given === logvar ? (slope * (Math.exp(logvar) - 1)) / 2 : 0;
  }
  return { loss, gradient: padChannels(gradient, 2 * Z) };
}

/** @param shape B, F, H, W, Z */
function one(size: Size, shape: Five, scale = 1, limits?: OpCase["limits"]): OpCase {
  const [B, F, H, W, Z] = shape;
  return {
    size,
    name: `[${shape.join(", ")}] of ±${scale}${padTo(2 * Z, 4) > 2 * Z ? ", padded" : ""}${limits ? ", in windows" : ""}`,
    half: ["moments"],
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      ...klLoss(
        { moments: draw.video("moments", [B, F, H, W, 2 * Z], { scale }), settings: draw.input("settings", [2], { data: [0.25, 3] }) },
        { latents: Z },
      ),
    }),
    reference: (values) => klLossReference(shape, values),
  };
}

export const klLossCases: OpCases = {
  op: "kl_loss",
  kernels: [...oneKernel(kernel), ...oneKernel(sumParts)],
  tolerance: { f32: 2e-6, f16: 2e-6 },
  cases: [
    one("tiny", [1, 1, 1, 1, 2]),
    one("odd", [2, 3, 5, 7, 4]),
    one("odd", [1, 2, 3, 5, 3], 40),
    one("odd", [1, 2, 19, 17, 16]),
    one("odd", [2, 3, 9, 8, 4], 3, { maxBindingBytes: 8192, maxGrid: 3 }),
    one("model", [1, 5, 32, 32, 16]),
  ],
};
