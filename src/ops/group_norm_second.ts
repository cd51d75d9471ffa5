/** group_norm_second: how the gradient of a norm moves with what was normalised, of norms with a channel a group. Kernels: kernels/norm/. */
import { groupNormSecond as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";
import { groupNormApplyCandidates } from "./group_norm_apply.ts";

interface Inputs {
  x: Tensor;
  dy: Tensor;
  dz: Tensor;
  ofDy: Tensor;
  ofDz: Tensor;
  products: Tensor;
}

/**
 * With z = rstd · (dy − mean(dy) − x̂ · mean(dy · x̂)), channel by channel, which is both a norm's dx for dy and what it makes of a change
 * dy of x: the gradient of Σ dz · z with respect to x.
 * @param inputs x, dy and dz f32 [B, T, H, W, C]; `ofDy`, `ofDz` [B, 4, C], what groupNormGradientMerge gave of each; `products` [B, 4, C],
 * what it gives of dz in place of x and dy, with mean 0 and rstd 1
 */
export function groupNormSecond(inputs: Inputs): Tensor {
  return inputs.x.graph.record(groupNormSecondOp, inputs, {}).dx;
}

export const groupNormSecondOp: Op<Inputs, object, "dx"> = {
  name: "group_norm_second",
  infer({ x, dy, dz, ofDy, ofDz, products }) {
    if (x.shape.length !== 5 || x.dim(-1) % 4 || [x, dy, dz].some((one) => one.shape.join() !== x.shape.join() || one.dtype !== "f32"))
      throw new CogwheelError(
        "group_norm_second",
        `x, dy and dz must be f32 of one shape [B, T, H, W, C padded to 4], got ${x}, ${dy} and ${dz}; reshape or convert them`,
      );
    const record = [x.dim(0), 4, x.dim(-1)].join();
    for (const one of [ofDy, ofDz, products])
      if (one.shape.join() !== record || one.dtype !== "f32")
        throw new CogwheelError(
          "group_norm_second",
          `records must be f32 [${x.dim(0)}, 4, ${x.dim(-1)}] as groupNormGradientMerge gives them, got ${one}; pass those of x`,
        );
    return { dx: { shape: x.shape, dtype: "f32" } };
  },
  cost: ({ inputs: { x } }) => ({ flops: 12 * x.size, bytes: 4 * x.bytes }),
  lower({ inputs: { x, dy, dz, ofDy, ofDz, products }, outputs: { dx } }, { caps }) {
    const [batches, frames, height, width, c] = x.shape as [number, number, number, number, number];
    const rowVectors = (width * c) / 4;
    const parts = cut(batches * frames * height, (start, n) => windowFits(x, start * rowVectors, n * rowVectors, caps));
    if (!parts)
      throw new CogwheelError(
        "group_norm_second",
        `one row of x [${x.shape.join(", ")}] must fit a binding of ${caps.maxBindingBytes} bytes; choose a narrower picture`,
      );
    const RUN = groupNormApplyCandidates(caps, true)[0]!.run;
    const runsOfRow = Math.ceil(width / RUN);
    return parts.map(({ start, count }) => {
      const of = (tensor: Tensor) => window(tensor, start * rowVectors, count * rowVectors, caps);
      const [ofX, given, along, written] = [of(x), of(dy), of(dz), of(dx)];
      return dispatch({
        kernel,
        overrides: { RUN },
        params: {
          runs: count * runsOfRow,
          first: start * runsOfRow,
          c4: c / 4,
          t: frames,
          h: height,
          w: width,
          x_base: wrap(ofX.base),
          dy_base: wrap(given.base),
          dz_base: wrap(along.base),
          dx_base: wrap(written.base),
        },
        bindings: { x: ofX.view, dy: given.view, dz: along.view, of_dy: ofDy, of_dz: ofDz, products, dx: written.view },
        grid: foldGrid(Math.ceil((count * runsOfRow * (c / 4)) / kernel.overrides.WG), caps),
      });
    });
  },
};
