/** pixel_loss: the mean absolute and the mean squared error of a video by frame, and the gradient of both. Kernels: kernels/training/. */
import { pixelLoss as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { lossChunks, sumLoss } from "./reduce/loss-parts.ts";

interface Inputs {
  prediction: Tensor;
  target: Tensor;
  settings: Tensor;
}

/**
 * prediction [B, F, …], f32 or f16, and target of its shape, f32, with a multiple of 4 values a frame; `settings` [3] f32: what a
 * difference counts in both losses (for means: one over their number), and what an absolute and a squared one count in the scalar that is
 * differentiated.
 * @returns loss [2, B, F], each frame's share of the absolute and of the squared error; and the gradient with respect to the prediction,
 * in its shape, f32
 */
export function pixelLoss(inputs: Inputs): { loss: Tensor; gradient: Tensor } {
  return inputs.prediction.graph.record(pixelLossOp, inputs, {});
}

export const pixelLossOp: Op<Inputs, object, "loss" | "gradient"> = {
  name: "pixel_loss",
  infer({ prediction, target, settings }) {
    const [b, f] = prediction.shape;
    if (
      prediction.shape.length < 3 ||
      prediction.shape.join() !== target.shape.join() ||
      !isFloat(prediction) ||
      target.dtype !== "f32" ||
      (prediction.size / b! / f!) % 4
    )
      throw new CogwheelError(
        "pixel_loss",
        "the prediction must be f32 or f16 [B, F, …] with a multiple of 4 values a frame, the target f32 of its shape, " +
          `got ${prediction} and ${target}; bring both into one layout`,
      );
    if (settings.size !== 3 || settings.dtype !== "f32")
      throw new CogwheelError("pixel_loss", `settings must be f32 [3], share and slopes, got ${settings}; give all`);
    return { loss: { shape: [2, b!, f!], dtype: "f32" }, gradient: { shape: prediction.shape, dtype: "f32" } };
  },
  cost: ({ inputs: { prediction, target }, outputs: { gradient } }) => ({
    flops: 8 * target.size,
    bytes: prediction.bytes + target.bytes + gradient.bytes,
  }),
  lower({ inputs: { prediction, target: goal, settings }, outputs: { loss, gradient } }, target) {
    const { caps } = target;
    const rows = loss.size / 2;
    const width = prediction.size / rows;
    const { chunk, chunks, parts } = lossChunks(loss.size, width, target);
    return [
      ...rowWindows(caps, rows, [4 * width, bytesOf[prediction.dtype] * width], 0, { what: "frames" }).map((window) =>
        dispatch({
          kernel,
          types: { P: prediction.dtype },
          params: { rows: window.count, width4: width / 4, chunk4: chunk / 4, chunks, first: window.start, all: rows },
          bindings: {
            prediction: rowView(prediction, window, width),
            goal: rowView(goal, window, width),
            settings,
            gradient: rowView(gradient, window, width),
            parts,
          },
          grid: foldGrid(window.count * chunks, caps),
        }),
      ),
      ...sumLoss({ chunk, chunks, parts }, loss, target),
    ];
  },
};
