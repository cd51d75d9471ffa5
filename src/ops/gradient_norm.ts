/** gradient_norm: the norm of all gradients, what clips it, and whether the step can be taken. Kernels: kernels/training/. */
import { gradientNorm as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch } from "../plan/dispatch.ts";

interface Inputs {
  sums: Tensor;
  settings: Tensor;
}

/** Values of the settings that an update is told, and of the control that its ops read. */
export const UPDATE_VALUES = 16;

/**
 * Where the values stand. The settings are written by the host, in float64 until then: what an update depends on travels in them, so
 * nothing is compiled again for another step or rate. The control has four results in the first places, and the settings in the others.
 */
export const UPDATE = {
  /** Settings: the norm above which gradients are clipped. */
  maxNorm: 0,
  /** Settings: one over the scale of the loss. */
  unscale: 1,
  /** Control: the norm of all gradients, without the loss's scale. */
  norm: 0,
  /** Control: what gradients are multiplied with. */
  factor: 1,
  /** Control: 1 where every gradient is finite, so that the step is taken. */
  taken: 2,
  /** Control: values that are NaN or infinite. */
  notFinite: 3,
  keep: 4,
  firstRate: 5,
  secondKeep: 6,
  secondRate: 7,
  root: 8,
  eps: 9,
  step: 10,
  averageRate: 11,
  momentumRate: 12,
  matrixStep: 13,
} as const;

/** sums as `squareSum` gives them, settings f32 [16] → control f32 [16]: see {@link UPDATE}. */
export function gradientNorm(sums: Tensor, settings: Tensor): Tensor {
  return sums.graph.record(gradientNormOp, { sums, settings }, {}).control;
}

/** Refuses a control that `gradientNorm` did not give. */
export function assertControl(op: string, control: Tensor): void {
  if (control.dtype !== "f32" || control.size !== UPDATE_VALUES)
    throw new CogwheelError(op, `control must be f32 [${UPDATE_VALUES}], got ${control}; give what gradient_norm gave`);
}

export const gradientNormOp: Op<Inputs, object, "control"> = {
  name: "gradient_norm",
  infer({ sums, settings }) {
    if (sums.dtype !== "f32" || sums.shape.length !== 2 || sums.dim(0) !== 2)
      throw new CogwheelError("gradient_norm", `sums must be f32 [2, partials], got ${sums}; give what square_sum gave`);
    if (settings.dtype !== "f32" || settings.size !== UPDATE_VALUES)
      throw new CogwheelError("gradient_norm", `settings must be f32 [${UPDATE_VALUES}], got ${settings}; make them of that size`);
    return { control: { shape: [UPDATE_VALUES], dtype: "f32" } };
  },
  cost: ({ inputs: { sums }, outputs: { control } }) => ({ flops: sums.size, bytes: sums.bytes + 2 * control.bytes }),
  lower({ inputs: { sums, settings }, outputs: { control } }) {
    return [dispatch({ kernel, params: { partials: sums.dim(1) }, bindings: { sums, settings, control }, grid: [1, 1, 1] })];
  },
};
