/** scheduler_step: with and without guidance, an old sample and noise; windows. */
import { schedulerStep as kernel } from "#kernels";
import { schedulerStep } from "../../../ops/scheduler_step.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export interface StepSizes {
  readonly shape: readonly number[];
  readonly guided: boolean;
  readonly dpm: boolean;
}

const COEFFICIENTS = [6, 0.8, -0.6, 0.3, 0.7, -0.2, 0.4, 0];

/** original = p·x + q·(guided prediction); next = a·x + b·original + c·old + d·noise. */
export function schedulerStepReference(
  { guided }: StepSizes,
  { sample: x, prediction: v, old, noise }: Values,
): { next: Float64Array; original: Float64Array } {
  const [g, p, q, a, b, c, d] = COEFFICIENTS.map(Math.fround) as [number, number, number, number, number, number, number];
  const n = x!.length;
  const original = Float64Array.from(x!, (xi, i) => p * xi + q * (guided ? v![i]! + g * (v![n + i]! - v![i]!) : v![i]!));
  return { original, next: original.map((x0, i) => a * x![i]! + b * x0 + (old ? c * old[i]! : 0) + (noise ? d * noise[i]! : 0)) };
}

function one(size: Size, sizes: StepSizes, limits?: OpCase["limits"]): OpCase {
  const { shape, guided, dpm } = sizes;
  return {
    size,
    name: `[${shape.join(", ")}]${guided ? ", guided" : ""}${dpm ? ", DPM" : ""}${limits ? ", in windows" : ""}`,
    half: ["prediction"],
    ...(limits ? { limits } : {}),
    record(draw) {
      const out = schedulerStep({
        sample: draw.input32("sample", shape),
        prediction: draw.input("prediction", [(guided ? 2 : 1) * shape[0]!, ...shape.slice(1)]),
        coefficients: draw.input32("coefficients", [8], { data: COEFFICIENTS }),
        ...(dpm ? { oldSample: draw.input32("old", shape), noise: draw.input32("noise", shape) } : {}),
      });
      return { next: out.sample, original: out.original };
    },
    reference: (values) => ({ ...schedulerStepReference(sizes, values) }),
  };
}

export const schedulerStepCases: OpCases = {
  op: "scheduler_step",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", { shape: [1], guided: false, dpm: false }),
    one("tiny", { shape: [1], guided: true, dpm: true }),
    ...[
      [1, 2, 1, 3, 5],
      [67, 3],
    ].flatMap((shape) => [false, true].flatMap((guided) => [false, true].map((dpm) => one("odd", { shape, guided, dpm })))),
    ...[6400, 2560].map((n) => one("odd", { shape: [1, n], guided: true, dpm: true }, { maxBindingBytes: 12 * 1024, maxGrid: 7 })),
    one("model", { shape: [1, 13, 16, 30, 45], guided: true, dpm: false }),
    one("model", { shape: [1, 13, 16, 30, 45], guided: true, dpm: true }),
    one("model", { shape: [1, 13, 16, 30, 45], guided: false, dpm: false }),
  ],
};
