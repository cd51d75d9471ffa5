/** velocity_loss: rows of several clips in any order, widths below and above the workgroup, windows, an error that is small beside v. */
import { velocityLoss as kernel, velocityLossSum as sumKernel } from "#kernels";
import { velocityLoss } from "../../../ops/velocity_loss.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** @param clips of each row */
export function velocityLossReference(
  clips: readonly number[],
  { prediction, x, noise, table }: Values,
): { loss: Float64Array; gradient: Float64Array } {
  const width = x!.length / clips.length;
  const loss = new Float64Array(table!.length / 4);
  const gradient = Float64Array.from(prediction!, (v, i) => {
    const clip = clips[Math.floor(i / width)]!;
    const [signal, sigma, share, slope] = table!.subarray(4 * clip, 4 * clip + 4) as unknown as [number, number, number, number];
    const error = v - (signal * noise![i]! - sigma * x![i]!);
    loss[clip]! += share * error * error;
    return slope * error;
  });
  return { loss, gradient };
}

function one(size: Size, clips: readonly number[], width: number, limits?: OpCase["limits"]): OpCase {
  const count = Math.max(...clips) + 1;
  return {
    size,
    name: `[${clips.length}, ${width}] of ${count} clips${limits ? ", in windows" : ""}`,
    half: ["prediction"],
    ...(limits ? { limits } : {}),
    record: (draw) =>
      velocityLoss({
        prediction: draw.input("prediction", [clips.length, width]),
        x: draw.input("x", [clips.length, width]),
        noise: draw.input("noise", [clips.length, width]),
        rows: draw.rows("rows", Uint32Array.from(clips)),
        table: draw.input("table", [count, 4], { offset: 1, scale: 0.5 }),
      }),
    reference: (values) => velocityLossReference(clips, values),
  };
}

const mixed = (rows: number, clips: number): number[] => Array.from({ length: rows }, (_, r) => (r * 7) % clips);

export const velocityLossCases: OpCases = {
  op: "velocity_loss",
  kernels: [...oneKernel(kernel), ...oneKernel(sumKernel)],
  tolerance: { f32: 2e-6, f16: 2e-6 },
  cases: [
    one("tiny", [0], 4),
    one("odd", mixed(13, 3), 7),
    one("odd", mixed(5, 2), 131),
    one("odd", mixed(200, 5), 100, { maxBindingBytes: 16384, maxGrid: 7 }),
    one("model", mixed(208, 1), 5400),
  ],
};
