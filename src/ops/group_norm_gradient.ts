/** group_norm_gradient: dx of a GroupNorm with its spatial norm and activation, through its mean and deviation too. Kernels: kernels/norm/. */
import { groupNormGradient as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";
import { groupNormApplyCandidates, spatialSteps } from "./group_norm_apply.ts";
import { assertNormOperands, type GroupNormGradientAttrs, type GroupNormGradientInputs } from "./group_norm_gradient_sums.ts";

/** Operands as in group_norm_apply, `norm` [B, 4, C] of groupNormGradientMerge → dx, of the shape and type of x. */
export function groupNormGradient(inputs: GroupNormGradientInputs, { onePlus, keepFirst, activation }: GroupNormGradientAttrs): Tensor {
  return inputs.x.graph.record(groupNormGradientOp, inputs, { onePlus, keepFirst, activation }).dx;
}

/** Both are read for the last time here as a rule, and dy only where it is of dx's size. */
const taken = (x: Tensor, dy: Tensor): "x" | "dy" => (dy.dtype === x.dtype ? "dy" : "x");

export const groupNormGradientOp: Op<GroupNormGradientInputs, GroupNormGradientAttrs, "dx"> = {
  name: "group_norm_gradient",
  infer(inputs) {
    assertNormOperands("group_norm_gradient", inputs, 4);
    return { dx: { shape: inputs.x.shape, dtype: inputs.x.dtype } };
  },
  mayTake: ({ inputs: { x, dy } }) => ({ dx: taken(x, dy) }),
  cost: ({ inputs: { x, dy, scale }, attrs: { activation }, outputs: { dx } }) => ({
    flops: (8 + (activation ? 10 : 0)) * x.size,
    bytes: x.bytes + dy.bytes + dx.bytes + 2 * (scale?.bytes ?? 0),
  }),
  lower({ inputs: { x, dy, norm, weight, bias, scale, shift }, attrs, outputs: { dx } }, { caps, inPlace }) {
    const [batches, frames, height, width, c] = x.shape as [number, number, number, number, number];
    const rowVectors = (width * c) / 4;
    const parts = cut(batches * frames * height, (start, n) =>
      [x, dy, dx].every((tensor) => windowFits(tensor, start * rowVectors, n * rowVectors, caps)),
    );
    if (!parts)
      throw new CogwheelError(
        "group_norm_gradient",
        `one row of x [${x.shape.join(", ")}] must fit a binding of ${caps.maxBindingBytes} bytes; choose a narrower picture`,
      );
    const RUN = groupNormApplyCandidates(caps, true)[0]!.run;
    const runsOfRow = Math.ceil(width / RUN);
    const steps = spatialSteps(x, scale, attrs);
    return parts.map(({ start, count }) => {
      const [read, given, written] = [x, dy, dx].map((tensor) => window(tensor, start * rowVectors, count * rowVectors, caps)) as [
        ReturnType<typeof window>,
        ReturnType<typeof window>,
        ReturnType<typeof window>,
      ];
      return dispatch({
        kernel,
        types: { X: x.dtype, G: dy.dtype, Y: dx.dtype },
        overrides: { RUN },
        consts: {
          SILU: +(attrs.activation === "silu"),
          SPATIAL: +!!scale,
          ONE_PLUS: +attrs.onePlus,
          FIRST_APART: +steps.apart,
          IN_PLACE: inPlace ? (taken(x, dy) === "dy" ? 1 : 2) : 0,
        },
        params: {
          runs: count * runsOfRow,
          first: start * runsOfRow,
          c4: c / 4,
          t: frames,
          h: height,
          w: width,
          tz: scale?.dim(1) ?? 1,
          hz: scale?.dim(2) ?? 1,
          wz: scale?.dim(3) ?? 1,
          step_t: steps.stepT,
          step_h: steps.stepH,
          step_w: steps.stepW,
          x_base: wrap(read.base),
          dy_base: wrap(given.base),
          dx_base: wrap(written.base),
        },
        bindings: {
          x: inPlace && taken(x, dy) === "x" ? given.view : read.view,
          dy: inPlace && taken(x, dy) === "dy" ? read.view : given.view,
          norm,
          weight: { tensor: weight, packing: "vector" },
          bias: { tensor: bias, packing: "vector" },
          scale: scale ?? norm,
          shift: shift ?? norm,
          dx: written.view,
        },
        grid: foldGrid(Math.ceil((count * runsOfRow * (c / 4)) / kernel.overrides.WG), caps),
      });
    });
  },
};
