/** group_norm_gradient_sums: slices within frames, cells of spatial norms of odd and even frames, uneven cells, windows. */
import { groupNormGradientCells, groupNormGradientSums as kernel } from "#kernels";
import { padTo } from "../../../graph/packing.ts";
import { groupNormGradientSums, type GroupNormGradientInputs } from "../../../ops/group_norm_gradient_sums.ts";
import { slicePositions } from "../../../ops/group_norm_stats.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Draw, Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import type { GroupNormApplySizes } from "./group_norm_apply.ts";
import { siluSlope } from "./silu_gradient.ts";

/** Where element i of x lies, what it is normalised to, and the gradient before scale and shift and after them. */
export interface NormSlope {
  readonly i: number;
  readonly b: number;
  readonly t: number;
  readonly p: number;
  readonly c: number;
  /** Of scale and shift, without padding. */
  readonly z: number;
  readonly normalised: number;
  /** dL/d(n · scale + shift), dL/dn with n = x̂ · weight + bias */
  readonly g: number;
  readonly dn: number;
}

/** By the definition of group_norm_apply. @param norm [B, rows, C padded]: mean, rstd, … */
export function* normSlopes({ x: [B, T, H, W, C], z, silu, other }: GroupNormApplySizes, values: Values, norm: ArrayLike<number>) {
  const { x, dy, weight, bias, scale, shift } = values as Record<string, Float32Array>;
  const padded = padTo(C, 4);
  const rows = norm.length / B / padded;
  const apart = !other && T > 1 && T % 2 === 1;
  for (let i = 0; i < B * T * H * W * C; i++) {
    const [c, at] = [i % C, Math.floor(i / C)];
    const [w, h, t, b] = [at % W, Math.floor(at / W) % H, Math.floor(at / W / H) % T, Math.floor(at / W / H / T)];
    const [mean, rstd] = [norm[b * rows * padded + c]!, norm[(b * rows + 1) * padded + c]!];
    const normalised = (x![i]! - mean) * rstd;
    const n = normalised * weight![c]! + bias![c]!;
    let [from, factor, v] = [0, 1, n];
    if (z) {
      const [tz, hz, wz] = z;
      const frame = apart ? (t === 0 ? 0 : 1 + Math.floor(((t - 1) * (tz - 1)) / (T - 1))) : Math.floor((t * tz) / T);
      from = (((b * tz + frame) * hz + Math.floor((h * hz) / H)) * wz + Math.floor((w * wz) / W)) * C + c;
      factor = scale![from]! + (other ? 1 : 0);
      v = n * factor + shift![from]!;
    }
    const g = dy![i]! * (silu ? siluSlope(v) : 1);
    yield { i, b, t, p: h * W + w, c, z: from, normalised, g, dn: g * factor } satisfies NormSlope;
  }
}

export function groupNormGradientSumsReference(sizes: GroupNormApplySizes, values: Values): Record<string, Float64Array> {
  const {
    x: [B, T, H, W, C],
    z,
  } = sizes;
  const padded = padTo(C, 4);
  const run = z ? 16 : slicePositions(H * W);
  const perFrame = Math.ceil((z ? z[1] * z[2] : H * W) / run);
  const frames = z ? z[0] : T;
  const sums = new Float64Array(B * frames * perFrame * 3 * padded);
  const [dscale, dshift] = [0, 1].map(() => new Float64Array(z ? B * z[0] * z[1] * z[2] * padded : 0)) as [Float64Array, Float64Array];
  const { weight, bias } = values as Record<string, Float32Array>;
  for (const { b, t, p, c, z: from, normalised, g, dn } of normSlopes(sizes, values, values["norm"]!)) {
    const cell = Math.floor(from / C);
    const slice = z
      ? Math.floor(cell / (z[1] * z[2])) * perFrame + Math.floor((cell % (z[1] * z[2])) / run)
      : (b * T + t) * perFrame + Math.floor(p / run);
    const at = slice * 3 * padded + c;
    for (const [row, value] of [1, dn, dn * normalised].entries()) sums[at + row * padded]! += value;
    if (!z) continue;
    dscale[cell * padded + c]! += g * (normalised * weight![c]! + bias![c]!);
    dshift[cell * padded + c]! += g;
  }
  // A count stands for the padded channels too.
  for (let at = 0; at < sums.length; at += 3 * padded) sums.fill(sums[at]!, at, at + padded);
  return { sums, ...(z ? { dscale, dshift } : {}) };
}

/** The operands of a norm's gradient. @param rows of norm: 2, or 4 with the groups' means */
export function normOperands(draw: Draw, { x, z }: GroupNormApplySizes, rows: number): GroupNormGradientInputs {
  const [B, , , , C] = x;
  const spatial = (name: string) => (z ? draw.video(name, [B, ...z, C], { dtype: "f32" }) : undefined);
  return {
    x: draw.video("x", x),
    dy: draw.video("dy", x),
    norm: draw.input32("norm", [B, rows, padTo(C, 4)], { offset: 1.5 }),
    weight: draw.vector("weight", [C]),
    bias: draw.vector("bias", [C]),
    scale: spatial("scale"),
    shift: spatial("shift"),
  };
}

export const normTitle = ({ x, z, other, silu }: GroupNormApplySizes, half: string, limits?: OpCase["limits"]): string =>
  `[${x.join(", ")}]${z ? `, spatial by [${z.join(", ")}]` : ""}${other ? ", 1 + scale" : ""}${silu ? ", SiLU" : ""}` +
  `${limits ? ", in windows" : ""} (${half})`;

export const normAttrs = ({ other, silu }: GroupNormApplySizes) =>
  ({ onePlus: !!other, keepFirst: !other, activation: silu ? "silu" : null }) as const;

function one(size: Size, sizes: GroupNormApplySizes, half: readonly string[] = ["dy"], limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: normTitle(sizes, half.join(", "), limits),
    half,
    ...(limits ? { limits } : {}),
    record: (draw) => ({ ...groupNormGradientSums(normOperands(draw, sizes, 2), normAttrs(sizes)) }),
    reference: (values) => groupNormGradientSumsReference(sizes, values),
  };
}

export const groupNormGradientSumsCases: OpCases = {
  op: "group_norm_gradient_sums",
  kernels: [
    ...oneKernel(kernel),
    ...oneKernel(groupNormGradientCells).map((choice) => ({ ...choice, takes: (c: OpCase) => c.name.includes(", spatial") })),
  ],
  tolerance: { f32: 2e-6, f16: 2e-6 },
  cases: [
    one("tiny", { x: [1, 1, 1, 1, 1] }),
    one("odd", { x: [2, 3, 5, 9, 10], silu: true }, ["x", "dy"]),
    one("odd", { x: [2, 3, 13, 14, 4] }),
    one("odd", { x: [1, 4, 6, 10, 8], z: [2, 3, 5], silu: true }),
    one("odd", { x: [2, 5, 6, 4, 12], z: [3, 3, 2] }, ["x", "dy"]),
    one("odd", { x: [1, 5, 7, 11, 4], z: [2, 3, 4], silu: true }),
    one("odd", { x: [1, 3, 9, 8, 4], z: [3, 9, 8], silu: true }),
    one("odd", { x: [1, 9, 16, 20, 4], z: [3, 2, 5] }, ["dy"], { maxBindingBytes: 12288, maxGrid: 30 }),
    one("odd", { x: [2, 5, 12, 16, 8], silu: true }, ["dy"], { maxBindingBytes: 8192, maxGrid: 30 }),
    one("odd", { x: [1, 7, 4, 6, 8], z: [2, 2, 3], other: true, silu: true }),
    one("model", { x: [1, 3, 24, 40, 256], z: [3, 6, 10], silu: true }),
    one("model", { x: [1, 4, 24, 40, 128], silu: true }),
  ],
};
