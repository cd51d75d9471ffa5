/** channel_affine: every channel times a number, plus another. Kernels: kernels/elementwise/. */
import { channelAffine as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import { padTo } from "../graph/packing.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

interface Inputs {
  x: Tensor;
  scale: Tensor;
  shift: Tensor | undefined;
}

/** x [..., C padded to 4] f32 or f16, scale and shift f32 [C] → x · scale + shift. `dtype`: default that of x. */
export function channelAffine(x: Tensor, scale: Tensor, shift?: Tensor, dtype: DType = x.dtype): Tensor {
  return x.graph.record(channelAffineOp, { x, scale, shift }, { dtype }).y;
}

export const channelAffineOp: Op<Inputs, { dtype: DType }, "y"> = {
  name: "channel_affine",
  infer({ x, scale, shift }, { dtype }) {
    const c = x.dim(-1);
    if (!isFloat(x) || c % 4) throw new CogwheelError("channel_affine", `x must be f32 or f16 with its channels padded to 4, got ${x}`);
    for (const one of [scale, shift])
      if (one && (one.dtype !== "f32" || padTo(one.size, 4) !== c))
        throw new CogwheelError("channel_affine", `scale and shift must have an f32 value for each of ${c} channels, got ${one}`);
    return { y: { shape: x.shape, dtype } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: 2 * y.size, bytes: x.bytes + y.bytes }),
  lower({ inputs: { x, scale, shift }, outputs: { y } }, { caps }) {
    const c = x.dim(-1);
    return rowWindows(caps, x.size / c, [c * bytesOf[x.dtype], c * bytesOf[y.dtype]]).map((rows) =>
      dispatch({
        kernel,
        types: { X: x.dtype, Y: y.dtype },
        consts: { SHIFT: +!!shift },
        params: { count: (rows.count * c) / 4, c4: c / 4 },
        bindings: {
          x: rowView(x, rows, c),
          scale: { tensor: scale, packing: "vector" },
          shift: { tensor: shift ?? scale, packing: "vector" },
          y: rowView(y, rows, c),
        },
        grid: foldGrid(Math.ceil((rows.count * c) / 4 / kernel.overrides.WG), caps),
      }),
    );
  },
};
