/** group_norm: statistics, merge and apply in a row: groups that straddle vectors, the spatial norm, windows. */
import { groupNormApply, groupNormMerge, groupNormStats } from "#kernels";
import { padTo } from "../../../graph/packing.ts";
import { groupNorm } from "../../../ops/group_norm.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import { groupNormApplyReference, type GroupNormApplySizes } from "./group_norm_apply.ts";

export interface GroupNormSizes extends GroupNormApplySizes {
  readonly groups: number;
}

const GROUP_EPS = 1e-6;

/** Mean and deviation of every group by the definition, then {@link groupNormApplyReference}. */
export function groupNormReference(sizes: GroupNormSizes, values: Values): Float64Array {
  const { x } = values;
  const [B, T, H, W, C] = sizes.x;
  const [positions, width, padded] = [T * H * W, C / sizes.groups, padTo(C, 4)];
  const norm = new Float64Array(B * 2 * padded);
  for (let b = 0; b < B; b++)
    for (let g = 0; g < sizes.groups; g++) {
      const of: number[] = [];
      for (let p = 0; p < positions; p++) for (let k = 0; k < width; k++) of.push(x![(b * positions + p) * C + g * width + k]!);
      const mean = of.reduce((a, v) => a + v, 0) / of.length;
      const variance = of.reduce((a, v) => a + (v - mean) ** 2, 0) / of.length;
      norm.fill(mean, 2 * b * padded + g * width, 2 * b * padded + (g + 1) * width);
      norm.fill(1 / Math.sqrt(variance + GROUP_EPS), (2 * b + 1) * padded + g * width, (2 * b + 1) * padded + (g + 1) * width);
    }
  return groupNormApplyReference(sizes, values, norm);
}

function one(
  size: Size,
  title: string,
  sizes: GroupNormSizes,
  {
    half = "y",
    offset = 0,
    limits,
    tolerance,
  }: { half?: string; offset?: number; limits?: OpCase["limits"]; tolerance?: OpCase["tolerance"] } = {},
): OpCase {
  const [B, , , , C] = sizes.x;
  return {
    size,
    name: `${title}${sizes.silu ? ", SiLU" : ""}, [${sizes.x.join(", ")}] (${half})`,
    half: [...half],
    ...(limits ? { limits } : {}),
    ...(tolerance ? { tolerance } : {}),
    record: (draw) => ({
      y: groupNorm(draw.video("x", sizes.x, { offset }), draw.vector("weight", [C]), draw.vector("bias", [C]), {
        groups: sizes.groups,
        eps: GROUP_EPS,
        dtype: draw.type("y"),
        ...(sizes.silu ? { activation: "silu" as const } : {}),
        ...(sizes.z
          ? {
              spatial: {
                scale: draw.video("scale", [B, ...sizes.z, C], { dtype: "f32" }),
                shift: draw.video("shift", [B, ...sizes.z, C], { dtype: "f32" }),
              },
            }
          : {}),
      }),
    }),
    reference: (values) => ({ y: groupNormReference(sizes, values) }),
  };
}

export const groupNormCases: OpCases = {
  op: "group_norm",
  kernels: [groupNormStats, groupNormMerge, groupNormApply].flatMap((kernel) => oneKernel(kernel)),
  tolerance: { f32: 2e-6, f16: 1e-3 },
  cases: [
    one("tiny", "one position", { x: [1, 1, 1, 1, 4], groups: 1, silu: true }),
    one("odd", "one group of all", { x: [2, 1, 3, 5, 4], groups: 1 }),
    one("odd", "groups that straddle vectors", { x: [1, 2, 3, 7, 6], groups: 2, silu: true }, { half: "xy" }),
    one("odd", "a channel a group", { x: [1, 3, 5, 9, 10], groups: 10 }),
    one("odd", "several slices", { x: [2, 5, 11, 13, 8], groups: 4, silu: true }),
    // x itself carries 2^-24 of its mean: with a mean of 300 deviations no f32 norm can do better.
    one("odd", "a mean 300 times the deviation", { x: [1, 2, 9, 16, 8], groups: 2 }, { offset: 300, tolerance: { f32: 3e-5, f16: 1e-3 } }),
    one("odd", "spatial, even frames", { x: [1, 4, 6, 10, 8], groups: 2, z: [2, 3, 5], silu: true }),
    one("odd", "spatial, odd frames", { x: [2, 9, 6, 4, 12], groups: 3, z: [3, 3, 2], silu: true }),
    one("odd", "spatial, odd frames", { x: [2, 9, 6, 4, 12], groups: 3, z: [3, 3, 2] }, { half: "xy" }),
    one("odd", "spatial, one frame", { x: [1, 1, 8, 12, 5], groups: 5, z: [1, 1, 3] }),
    one("odd", "spatial, rows of many columns", { x: [1, 2, 2, 131, 4], groups: 1, z: [1, 1, 9], silu: true }),
    one("odd", "spatial, same size", { x: [1, 3, 3, 5, 4], groups: 1, z: [3, 3, 5] }),
    one("odd", "in windows", { x: [2, 9, 12, 16, 8], groups: 4, silu: true }, { limits: { maxBindingBytes: 8192, maxGrid: 30 } }),
    one(
      "odd",
      "in windows, spatial",
      { x: [1, 9, 16, 20, 4], groups: 2, z: [3, 2, 5] },
      { limits: { maxBindingBytes: 8192, maxGrid: 30 } },
    ),
    one("model", "decoder, spatial", { x: [1, 3, 12, 20, 512], groups: 32, z: [3, 6, 10], silu: true }),
    one("model", "encoder", { x: [1, 4, 24, 40, 128], groups: 32, silu: true }),
  ],
};
