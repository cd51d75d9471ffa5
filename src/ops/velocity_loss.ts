/** velocity_loss: the mean squared error of a predicted velocity by clip, and its gradient. Kernels: kernels/training/. */
import { velocityLoss as kernel, velocityLossSum as sumKernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { assertNoise, type NoiseArguments } from "./add_noise.ts";

/** What `velocityLoss` reads. */
export interface VelocityLossArguments extends NoiseArguments {
  /** What the model said for the noisy latents: of their shape, f32 or f16. */
  prediction: Tensor;
}

/**
 * The velocity is v = √ᾱ · noise − √(1 − ᾱ) · x. A clip's row of the table has √ᾱ, √(1 − ᾱ), what a square counts in the clip's loss (for
 * a mean: one over its values), and twice what it counts in the scalar that is differentiated.
 * @returns loss [clips], and the gradient with respect to the prediction, in its shape, f32
 */
export function velocityLoss(of: VelocityLossArguments): { loss: Tensor; gradient: Tensor } {
  return of.x.graph.record(velocityLossOp, { ...of }, {});
}

export const velocityLossOp: Op<{ [K in keyof VelocityLossArguments]: Tensor }, object, "loss" | "gradient"> = {
  name: "velocity_loss",
  infer(of) {
    assertNoise("velocity_loss", of);
    const { prediction, x, table } = of;
    if (!isFloat(prediction) || prediction.shape.join() !== x.shape.join())
      throw new CogwheelError("velocity_loss", `the prediction must be f32 or f16 of the latents' shape, got ${prediction} for ${x}`);
    return { loss: { shape: [table.dim(0)], dtype: "f32" }, gradient: { shape: x.shape, dtype: "f32" } };
  },
  cost: ({ inputs: { prediction, x }, outputs: { gradient } }) => ({
    flops: 7 * x.size,
    bytes: prediction.bytes + 2 * x.bytes + gradient.bytes,
  }),
  lower({ inputs: { prediction, x, noise, rows, table }, outputs: { loss, gradient } }, { caps, scratch }) {
    const width = x.size / rows.size;
    const part = scratch([rows.size], "f32");
    return [
      ...rowWindows(caps, rows.size, [4 * width, bytesOf[prediction.dtype] * width]).map((window) => {
        const of = (tensor: Tensor) => rowView(tensor, window, width);
        return dispatch({
          kernel,
          types: { P: prediction.dtype },
          params: { rows: window.count, width, first: window.start },
          bindings: { prediction: of(prediction), x: of(x), noise: of(noise), rows, table, gradient: of(gradient), part },
          grid: foldGrid(window.count, caps),
        });
      }),
      dispatch({
        kernel: sumKernel,
        params: { rows: rows.size, clips: loss.size },
        bindings: { part, rows, loss },
        grid: foldGrid(loss.size, caps),
      }),
    ];
  },
};
