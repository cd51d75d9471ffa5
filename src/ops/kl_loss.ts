/** kl_loss: how far the posterior over latents is from a standard normal distribution, by frame, and its gradient. Kernels: kernels/training/. */
import { klLoss as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import { padTo } from "../graph/packing.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { lossChunks, sumLoss } from "./reduce/loss-parts.ts";

interface Inputs {
  moments: Tensor;
  settings: Tensor;
}

/**
 * moments [B, F, H, W, 2Z padded], means and then log-variances, which count clamped to −30…20; `settings` [2] f32: what a value of
 * ½ (μ² + σ² − 1 − log σ²) counts in the loss (for a mean: one over B · F · H · W · Z), and in the scalar that is differentiated.
 * @param attrs `latents`: Z
 * @returns loss [B, F], the share of each frame; and the gradient with respect to the moments, in their shape, f32
 */
export function klLoss(inputs: Inputs, attrs: { latents: number }): { loss: Tensor; gradient: Tensor } {
  return inputs.moments.graph.record(klLossOp, inputs, attrs);
}

/** Are these moments of so many latent channels, channels last? */
export function assertMoments(op: string, moments: Tensor, latents: number): void {
  if (moments.shape.length !== 5 || moments.dim(-1) !== padTo(2 * latents, 4) || !isFloat(moments))
    throw new CogwheelError(
      op,
      `moments must be f32 or f16 [B, F, H, W, ${padTo(2 * latents, 4)}] of ${latents} latent channels, got ${moments}; ` +
        "give what the encoder makes",
    );
}

export const klLossOp: Op<Inputs, { latents: number }, "loss" | "gradient"> = {
  name: "kl_loss",
  infer({ moments, settings }, { latents }) {
    assertMoments("kl_loss", moments, latents);
    if (settings.size !== 2 || settings.dtype !== "f32")
      throw new CogwheelError("kl_loss", `settings must be f32 [2], share and slope, got ${settings}; give both`);
    return { loss: { shape: [moments.dim(0), moments.dim(1)], dtype: "f32" }, gradient: { shape: moments.shape, dtype: "f32" } };
  },
  cost: ({ inputs: { moments }, outputs: { gradient } }) => ({ flops: 8 * moments.size, bytes: moments.bytes + gradient.bytes }),
  lower({ inputs: { moments, settings }, attrs: { latents }, outputs: { loss, gradient } }, target) {
    const { caps } = target;
    const [width, padded] = [moments.size / loss.size, moments.dim(-1)];
    const values = (width / padded) * latents;
    const { chunk, chunks, parts } = lossChunks(loss.size, values, target);
    return [
      ...rowWindows(caps, loss.size, [4 * width, bytesOf[moments.dtype] * width], 0, { what: "frames" }).map((window) =>
        dispatch({
          kernel,
          types: { M: moments.dtype },
          params: { rows: window.count, values, chunk, chunks, z: latents, padded, first: window.start, all: loss.size },
          bindings: { moments: rowView(moments, window, width), settings, gradient: rowView(gradient, window, width), parts },
          grid: foldGrid(window.count * chunks, caps),
        }),
      ),
      ...sumLoss({ chunk, chunks, parts }, loss, target),
    ];
  },
};
