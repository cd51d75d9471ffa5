/** posterior_sample_gradient: what drawn latents send back to mean and log-variance. Kernels: kernels/training/. */
import { posteriorSampleGradient as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { assertMoments } from "./kl_loss.ts";

interface Inputs {
  moments: Tensor;
  noise: Tensor;
  dz: Tensor;
}

/** moments and noise as in posterior_sample, dz in the shape of the noise, f32 or f16 → dmoments in the shape of the moments, f32. */
export function posteriorSampleGradient(inputs: Inputs, attrs: { latents: number }): Tensor {
  return inputs.moments.graph.record(posteriorSampleGradientOp, inputs, attrs).dmoments;
}

export const posteriorSampleGradientOp: Op<Inputs, { latents: number }, "dmoments"> = {
  name: "posterior_sample_gradient",
  infer({ moments, noise, dz }, { latents }) {
    assertMoments("posterior_sample_gradient", moments, latents);
    if (
      noise.shape.join() !== dz.shape.join() ||
      noise.dtype !== "f32" ||
      !isFloat(dz) ||
      dz.size / dz.dim(-1) !== moments.size / moments.dim(-1)
    )
      throw new CogwheelError(
        "posterior_sample_gradient",
        `noise and dz must be of one shape, that of the latents of ${moments}, got ${noise} and ${dz}; pass those of the sample`,
      );
    return { dmoments: { shape: moments.shape, dtype: "f32" } };
  },
  cost: ({ inputs: { moments, noise, dz }, outputs: { dmoments } }) => ({
    flops: 3 * dmoments.size,
    bytes: moments.bytes + noise.bytes + dz.bytes + dmoments.bytes,
  }),
  lower({ inputs: { moments, noise, dz }, attrs: { latents }, outputs: { dmoments } }, { caps }) {
    const [padded, width] = [moments.dim(-1), dz.dim(-1)];
    return rowWindows(caps, dz.size / width, [padded * 4, padded * bytesOf[moments.dtype], width * 4, width * bytesOf[dz.dtype]]).map(
      (rows) =>
        dispatch({
          kernel,
          types: { M: moments.dtype, G: dz.dtype },
          params: { count: rows.count * padded, z: latents, width, padded },
          bindings: {
            moments: rowView(moments, rows, padded),
            noise: rowView(noise, rows, width),
            dz: rowView(dz, rows, width),
            dmoments: rowView(dmoments, rows, padded),
          },
          grid: foldGrid(Math.ceil((rows.count * padded) / kernel.overrides.WG), caps),
        }),
    );
  },
};
