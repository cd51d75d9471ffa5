/** pixel_loss: frames below and above a chunk, batches, equal values, windows. */
import { pixelLoss as kernel, sumParts } from "#kernels";
import { pixelLoss } from "../../../ops/pixel_loss.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export function pixelLossReference(
  frames: number,
  { prediction, target, settings }: Values,
): { loss: Float64Array; gradient: Float64Array } {
  const width = prediction!.length / frames;
  const loss = new Float64Array(2 * frames);
  const gradient = Float64Array.from(prediction!, (v, i) => {
    const d = v - target![i]!;
    const frame = Math.floor(i / width);
    loss[frame]! += settings![0]! * Math.abs(d);
    loss[frames + frame]! += settings![0]! * d * d;
    return settings![1]! * Math.sign(d) + 2 * settings![2]! * d;
  });
  return { loss, gradient };
}

function one(size: Size, shape: readonly number[], limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}]${limits ? ", in windows" : ""}`,
    half: ["prediction"],
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      ...pixelLoss({
        prediction: draw.input("prediction", shape),
        target: draw.input("target", shape),
        settings: draw.input("settings", [3], { data: [0.25, 3, 0.5] }),
      }),
    }),
    reference: (values) => pixelLossReference(shape[0]! * shape[1]!, values),
  };
}

export const pixelLossCases: OpCases = {
  op: "pixel_loss",
  kernels: [...oneKernel(kernel), ...oneKernel(sumParts)],
  tolerance: { f32: 2e-6, f16: 2e-6 },
  cases: [
    one("tiny", [1, 1, 1, 1, 4]),
    one("odd", [2, 3, 5, 7, 4]),
    one("odd", [1, 2, 37, 41, 4]),
    one("odd", [2, 9, 12, 16, 4], { maxBindingBytes: 8192, maxGrid: 7 }),
    one("model", [1, 9, 64, 64, 4]),
  ],
};
