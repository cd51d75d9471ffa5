/** posterior_sample: latents drawn from the encoder's posterior, of noise that is given. Kernels: kernels/training/. */
import { posteriorSample as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf } from "../graph/dtype.ts";
import { padTo } from "../graph/packing.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { assertMoments } from "./kl_loss.ts";

interface Inputs {
  moments: Tensor;
  noise: Tensor;
}

/**
 * moments [B, F, H, W, 2Z padded], means and then log-variances, which count clamped to −30…20, and noise [B, F, H, W, Z padded] f32 →
 * z = mean + deviation · noise, f32 in the shape of the noise; zeros where it is padded. @param attrs `latents`: Z
 */
export function posteriorSample(moments: Tensor, noise: Tensor, attrs: { latents: number }): Tensor {
  return moments.graph.record(posteriorSampleOp, { moments, noise }, attrs).z;
}

export const posteriorSampleOp: Op<Inputs, { latents: number }, "z"> = {
  name: "posterior_sample",
  infer({ moments, noise }, { latents }) {
    assertMoments("posterior_sample", moments, latents);
    const shape = [...moments.shape.slice(0, -1), padTo(latents, 4)];
    if (noise.shape.join() !== shape.join() || noise.dtype !== "f32")
      throw new CogwheelError("posterior_sample", `the noise must be f32 [${shape.join(", ")}] for ${moments}, got ${noise}; draw it so`);
    return { z: { shape, dtype: "f32" } };
  },
  cost: ({ inputs: { moments, noise }, outputs: { z } }) => ({ flops: 6 * z.size, bytes: moments.bytes + noise.bytes + z.bytes }),
  lower({ inputs: { moments, noise }, attrs: { latents }, outputs: { z } }, { caps }) {
    const [padded, width] = [moments.dim(-1), z.dim(-1)];
    return rowWindows(caps, z.size / width, [padded * bytesOf[moments.dtype], width * 4]).map((rows) =>
      dispatch({
        kernel,
        types: { M: moments.dtype },
        params: { count: rows.count * width, z: latents, width, padded },
        bindings: { moments: rowView(moments, rows, padded), noise: rowView(noise, rows, width), z: rowView(z, rows, width) },
        grid: foldGrid(Math.ceil((rows.count * width) / kernel.overrides.WG), caps),
      }),
    );
  },
};
