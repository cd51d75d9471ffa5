/** group_norm_apply: a norm that is given, the spatial norm of odd and even frames, SiLU, windows. */
import { groupNormApply as kernel } from "#kernels";
import { padTo } from "../../../graph/packing.ts";
import { groupNormApply } from "../../../ops/group_norm_apply.ts";
import { silu } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { padChannels, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export interface GroupNormApplySizes {
  /** B, T, H, W, C */
  readonly x: readonly [number, number, number, number, number];
  /** Frames, rows and columns of scale and shift. */
  readonly z?: readonly [number, number, number];
  readonly silu?: boolean;
  /** The spatial norm in its other conventions: · (1 + scale) + shift, and an odd number of frames shared like an even one. */
  readonly other?: boolean;
}

/** (x − mean) · rstd · weight + bias; scale and shift at the nearest position. @param norm [B, 2, C padded]: mean, rstd */
export function groupNormApplyReference(
  { x: [B, T, H, W, C], z, silu: activated, other }: GroupNormApplySizes,
  { x, weight, bias, scale, shift }: Values,
  norm: ArrayLike<number>,
): Float64Array {
  const padded = padTo(C, 4);
  const y = new Float64Array(B * T * H * W * C);
  // An odd number of frames above 1 keeps its first apart.
  const apart = !other && T > 1 && T % 2 === 1;
  for (let i = 0; i < y.length; i++) {
    const [c, p] = [i % C, Math.floor(i / C)];
    const [w, h, t, b] = [p % W, Math.floor(p / W) % H, Math.floor(p / W / H) % T, Math.floor(p / W / H / T)];
    let v = (x![i]! - norm[2 * b * padded + c]!) * norm[(2 * b + 1) * padded + c]! * weight![c]! + bias![c]!;
    if (z) {
      const [tz, hz, wz] = z;
      const frame = apart ? (t === 0 ? 0 : 1 + Math.floor(((t - 1) * (tz - 1)) / (T - 1))) : Math.floor((t * tz) / T);
      const from = (((b * tz + frame) * hz + Math.floor((h * hz) / H)) * wz + Math.floor((w * wz) / W)) * C + c;
      v = v * (scale![from]! + (other ? 1 : 0)) + shift![from]!;
    }
    y[i] = activated ? silu(v) : v;
  }
  return padChannels(y, C);
}

function one(size: Size, sizes: GroupNormApplySizes, half = "y", limits?: OpCase["limits"]): OpCase {
  const [B, , , , C] = sizes.x;
  return {
    size,
    name:
      `[${sizes.x.join(", ")}]${sizes.z ? `, spatial by [${sizes.z.join(", ")}]` : ""}${sizes.other ? ", 1 + scale" : ""}` +
      `${sizes.silu ? ", SiLU" : ""}${limits ? ", in windows" : ""} (${half})`,
    half: [...half],
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      y: groupNormApply(
        draw.video("x", sizes.x),
        draw.input32("norm", [B, 2, padTo(C, 4)], { offset: 1.5 }),
        draw.vector("weight", [C]),
        draw.vector("bias", [C]),
        {
          dtype: draw.type("y"),
          ...(sizes.silu ? { activation: "silu" as const } : {}),
          ...(sizes.z
            ? {
                spatial: {
                  ...(sizes.other ? { onePlus: true, keepFirst: false } : {}),
                  scale: draw.video("scale", [B, ...sizes.z, C], { dtype: "f32" }),
                  shift: draw.video("shift", [B, ...sizes.z, C], { dtype: "f32" }),
                },
              }
            : {}),
        },
      ),
    }),
    reference: (values) => ({ y: groupNormApplyReference(sizes, values, values["norm"]!) }),
  };
}

export const groupNormApplyCases: OpCases = {
  op: "group_norm_apply",
  kernels: oneKernel(kernel),
  tolerance: { f32: 2e-6, f16: 1e-3 },
  cases: [
    one("tiny", { x: [1, 1, 1, 1, 1] }),
    one("odd", { x: [2, 3, 5, 9, 10], silu: true }, "xy"),
    one("odd", { x: [1, 4, 6, 10, 8], z: [2, 3, 5], silu: true }),
    one("odd", { x: [2, 5, 6, 4, 12], z: [3, 3, 2] }),
    one("odd", { x: [1, 9, 16, 20, 4], z: [3, 2, 5] }, "y", { maxBindingBytes: 8192, maxGrid: 30 }),
    one("odd", { x: [2, 5, 6, 4, 12], z: [3, 3, 2], other: true }),
    one("odd", { x: [1, 7, 4, 6, 8], z: [2, 2, 3], other: true, silu: true }, "xy"),
    one("model", { x: [1, 3, 12, 20, 512], z: [3, 6, 10], silu: true }),
  ],
};
