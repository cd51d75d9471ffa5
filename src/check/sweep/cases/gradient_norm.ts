/** gradient_norm: norms above and below the one that clips, fewer partials than threads and more, a sum that overflows, infinities. */
import { gradientNorm as kernel } from "#kernels";
import { gradientNorm, UPDATE, UPDATE_VALUES } from "../../../ops/gradient_norm.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export function gradientNormReference({ sums, settings }: Values): Float64Array {
  const partials = sums!.length / 2;
  const control = Float64Array.from(settings!);
  const total = sums!.subarray(0, partials).reduce((a, b) => a + b, 0);
  const overflow = total > 3.4e38;
  const norm = overflow ? 0 : Math.sqrt(total) * settings![UPDATE.unscale]!;
  const bad = sums!.subarray(partials).reduce((a, b) => a + b, 0) + +overflow;
  control[UPDATE.norm] = norm;
  control[UPDATE.factor] = settings![UPDATE.unscale]! * Math.min(1, settings![UPDATE.maxNorm]! / (norm + 1e-6));
  control[UPDATE.taken] = +(bad === 0);
  control[UPDATE.notFinite] = bad;
  return control;
}

interface Given {
  partials: number;
  maxNorm: number;
  unscale?: number;
  bad?: number;
  /** What every partial sum is near to. */
  offset?: number;
}

function one(size: Size, { partials, maxNorm, unscale = 1, bad = 0, offset = 3 }: Given): OpCase {
  const settings = Float32Array.from({ length: UPDATE_VALUES }, (_, i) => (i < 2 ? [maxNorm, unscale][i]! : i / 7));
  return {
    size,
    name: `${partials} sums near ${offset}, at most ${maxNorm}, by ${unscale}, ${bad} not finite`,
    half: [],
    record: (draw) => ({
      control: gradientNorm(
        draw.input("sums", [2, partials], {
          data: Float32Array.from({ length: 2 * partials }, (_, i) =>
            i < partials ? offset * (1 + ((i * 37) % 101) / 101) : i === 2 * partials - 1 ? bad : 0,
          ),
        }),
        draw.input("settings", [UPDATE_VALUES], { data: settings }),
      ),
    }),
    reference: (values) => ({ control: gradientNormReference(values) }),
  };
}

export const gradientNormCases: OpCases = {
  op: "gradient_norm",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", { partials: 2, maxNorm: 1 }),
    one("odd", { partials: 300, maxNorm: 1e9, unscale: 1 / 1024 }),
    one("odd", { partials: 1000, maxNorm: 0.5, bad: 3 }),
    one("odd", { partials: 1000, maxNorm: 1, offset: 3e36 }),
    one("model", { partials: 16384, maxNorm: 1 }),
  ],
};
