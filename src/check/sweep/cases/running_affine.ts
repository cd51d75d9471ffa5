/** running_affine: forwards and backwards, channels around the workgroup, variances near zero. */
import { runningAffine as kernel } from "#kernels";
import { runningAffine, runningAffineGradient } from "../../../ops/running_affine.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

const EPS = 1e-5;

export function runningAffineReference({ mean, variance, weight, bias }: Values) {
  const scale = Float64Array.from(weight!, (w, c) => w / Math.sqrt(variance![c]! + EPS));
  return { scale, shift: scale.map((s, c) => bias![c]! - mean![c]! * s) };
}

function one(size: Size, channels: number, offset: number): OpCase {
  return {
    size,
    name: `${channels} channels, variances about ${offset}`,
    half: [],
    record: (draw) => {
      const of = (name: string, options = {}) => draw.input32(name, [channels], options);
      return runningAffine(of("mean"), of("variance", { offset, scale: offset }), of("weight"), of("bias"), EPS);
    },
    reference: runningAffineReference,
  };
}

const backwards: OpCase = {
  size: "odd",
  name: "the gradients of weight and bias",
  half: [],
  record: (draw) => {
    const of = (name: string, options = {}) => draw.input32(name, [70], options);
    return runningAffineGradient({ mean: of("mean"), variance: of("variance", { offset: 1 }) }, of("dscale"), of("dshift"), EPS);
  },
  reference: ({ mean, variance, dscale, dshift }) => ({
    weight: Float64Array.from(dscale!, (d, c) => (d - mean![c]! * dshift![c]!) / Math.sqrt(variance![c]! + EPS)),
    bias: dshift!,
  }),
};

export const runningAffineCases: OpCases = {
  op: "running_affine",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [one("tiny", 4, 1), one("odd", 7, 1), one("odd", 130, 1e-5), backwards, one("model", 512, 1)],
};
