/** group_norm_stats: one slice and several, the last of them shorter, a mean far from zero, windows. */
import { groupNormStats as kernel } from "#kernels";
import { padTo } from "../../../graph/packing.ts";
import { groupNormStats, slicePositions } from "../../../ops/group_norm_stats.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { padChannels, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export interface GroupNormStatsSizes {
  /** B, T, H, W, C */
  readonly x: readonly [number, number, number, number, number];
}

/** Count, mean and Σ(x − mean)² of every slice of a frame and channel, [B, slices, 3, C padded]. */
export function groupNormStatsReference({ x: [B, T, H, W, C] }: GroupNormStatsSizes, values: Values): Float64Array {
  const x = padChannels(values["x"]!, C);
  const [plane, padded] = [H * W, padTo(C, 4)];
  const run = slicePositions(plane);
  const slices = Math.ceil(plane / run);
  const stats = new Float64Array(B * T * slices * 3 * padded);
  for (let frame = 0; frame < B * T; frame++)
    for (let s = 0; s < slices; s++)
      for (let c = 0; c < padded; c++) {
        const count = Math.min(run, plane - s * run);
        const of = Array.from({ length: count }, (_, i) => x[(frame * plane + s * run + i) * padded + c]!);
        const mean = of.reduce((sum, v) => sum + v, 0) / count;
        const at = (frame * slices + s) * 3 * padded + c;
        stats[at] = count;
        stats[at + padded] = mean;
        stats[at + 2 * padded] = of.reduce((sum, v) => sum + (v - mean) ** 2, 0);
      }
  return stats;
}

function one(size: Size, x: GroupNormStatsSizes["x"], offset = 0, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `[${x.join(", ")}]${offset ? `, a mean of ${offset}` : ""}${limits ? ", in windows" : ""}`,
    half: ["x"],
    ...(limits ? { limits } : {}),
    record: (draw) => ({ stats: groupNormStats(draw.video("x", x, { offset })) }),
    reference: (values) => ({ stats: groupNormStatsReference({ x }, values) }),
  };
}

export const groupNormStatsCases: OpCases = {
  op: "group_norm_stats",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", [1, 1, 1, 1, 1]),
    one("odd", [2, 3, 5, 9, 10]),
    one("odd", [2, 5, 11, 13, 8], 7),
    one("odd", [2, 9, 12, 16, 8], 0, { maxBindingBytes: 8192, maxGrid: 30 }),
    one("model", [1, 4, 24, 40, 128]),
  ],
};
