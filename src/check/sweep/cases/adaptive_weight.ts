/** adaptive_weight: at its clamp and below, few partial sums and many, gradients that are not finite or zero. */
import { adaptiveWeight as kernel } from "#kernels";
import { adaptiveWeight } from "../../../ops/adaptive_weight.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export function adaptiveWeightReference({ ofRec, ofGen, settings }: Values): number[] {
  const half = ofRec!.length / 2;
  const total = (sums: Float32Array) => sums.reduce((sum, v) => sum + v, 0);
  const [unscale, weight, most, eps] = settings as unknown as [number, number, number, number];
  const [rec, gen] = [ofRec!, ofGen!].map((sums) => Math.sqrt(total(sums.subarray(0, half))) * unscale) as [number, number];
  const broken = total(ofRec!.subarray(half)) + total(ofGen!.subarray(half));
  const lambda = broken ? 0 : Math.min(most, rec / (gen + eps));
  return [weight * lambda, lambda, rec, gen];
}

function one(size: Size, partials: number, settings: readonly number[], { broken = 0, zero = false } = {}): OpCase {
  const sums = (seed: number, bad: number) =>
    Float32Array.from({ length: 2 * partials }, (_, i) => (i < partials ? (i + seed) % 7 : i === partials ? bad : 0));
  return {
    size,
    name: `${partials} partial sums, [${settings.join(", ")}]${broken ? ", not finite" : ""}${zero ? ", no gradient" : ""}`,
    half: [],
    record: (draw) => ({
      y: adaptiveWeight(
        draw.input("ofRec", [2, partials], { data: sums(2, 0) }),
        draw.input("ofGen", [2, partials], { data: zero ? new Float32Array(2 * partials) : sums(5, broken) }),
        draw.input("settings", [4], { data: settings }),
      ),
    }),
    reference: (values) => ({ y: adaptiveWeightReference(values) }),
  };
}

export const adaptiveWeightCases: OpCases = {
  op: "adaptive_weight",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", 1, [1, 0.5, 1e4, 1e-4]),
    one("odd", 67, [1 / 128, 0.5, 1e4, 1e-4]),
    one("odd", 200, [1, 0.1, 0.25, 1e-4]),
    one("odd", 3, [1, 1, 1e4, 1e-4], { broken: 2 }),
    one("odd", 3, [1, 1, 1e4, 1e-6], { zero: true }),
    one("model", 4096, [1, 0.5, 1e4, 1e-4]),
  ],
};
