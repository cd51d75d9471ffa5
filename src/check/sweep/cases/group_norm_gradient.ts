/** group_norm_gradient: dx of norms with every switch, windows. */
import { groupNormGradient as kernel } from "#kernels";
import { padTo } from "../../../graph/packing.ts";
import { groupNormGradient } from "../../../ops/group_norm_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import type { GroupNormApplySizes } from "./group_norm_apply.ts";
import { normAttrs, normOperands, normSlopes, normTitle } from "./group_norm_gradient_sums.ts";

/** rstd · (dn · weight − mean(dn · weight) − x̂ · mean(dn · weight · x̂)), both means given in norm. */
export function groupNormGradientReference(sizes: GroupNormApplySizes, values: Values): Float64Array {
  const C = sizes.x[4];
  const padded = padTo(C, 4);
  const { norm, weight } = values as Record<string, Float32Array>;
  const dx = new Float64Array((sizes.x.reduce((a, n) => a * n, 1) / C) * padded);
  for (const { i, b, c, normalised, dn } of normSlopes(sizes, values, norm!)) {
    const of = (row: number) => norm![(4 * b + row) * padded + c]!;
    dx[Math.floor(i / C) * padded + c] = of(1) * (dn * weight![c]! - of(2) - normalised * of(3));
  }
  // What stands in norm for the padded channels goes on into theirs.
  for (let b = 0; b < sizes.x[0]; b++) {
    const entry = dx.length / sizes.x[0];
    for (let at = b * entry; at < (b + 1) * entry; at += padded)
      for (let c = C; c < padded; c++) {
        const of = (row: number) => norm![(4 * b + row) * padded + c]!;
        dx[at + c] = of(1) * (-of(2) + of(0) * of(1) * of(3));
      }
  }
  return dx;
}

function one(size: Size, sizes: GroupNormApplySizes, half: readonly string[] = ["dy"], limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: normTitle(sizes, half.join(", "), limits),
    half,
    ...(limits ? { limits } : {}),
    record: (draw) => ({ dx: groupNormGradient(normOperands(draw, sizes, 4), normAttrs(sizes)) }),
    reference: (values) => ({ dx: groupNormGradientReference(sizes, values) }),
  };
}

export const groupNormGradientCases: OpCases = {
  op: "group_norm_gradient",
  kernels: oneKernel(kernel),
  tolerance: { f32: 2e-6, f16: 1e-3 },
  cases: [
    one("tiny", { x: [1, 1, 1, 1, 1] }),
    one("odd", { x: [2, 3, 5, 9, 10], silu: true }, ["x", "dy"]),
    one("odd", { x: [1, 4, 6, 10, 8], z: [2, 3, 5], silu: true }),
    one("odd", { x: [2, 5, 6, 4, 12], z: [3, 3, 2] }, ["x", "dy"]),
    one("odd", { x: [1, 5, 7, 131, 4], z: [2, 3, 4], silu: true }),
    one("odd", { x: [1, 9, 16, 20, 4], z: [3, 2, 5] }, ["dy"], { maxBindingBytes: 8192, maxGrid: 30 }),
    one("odd", { x: [2, 5, 12, 16, 8], silu: true }, [], { maxBindingBytes: 8192, maxGrid: 30 }),
    one("odd", { x: [1, 7, 4, 6, 8], z: [2, 2, 3], other: true, silu: true }),
    one("model", { x: [1, 3, 24, 40, 256], z: [3, 6, 10], silu: true }),
  ],
};
