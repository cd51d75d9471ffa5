/** cast: the values in another storage type, such as those of a trained weight. Kernels: kernels/elementwise/. */
import { cast as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { lowerUnary } from "./elementwise/unary.ts";

/** x [...], f32 or f16 → the same shape; x itself where it is of that type. */
export function cast(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : x.graph.record(castOp, { x }, { dtype }).y;
}

export const castOp: Op<{ x: Tensor }, { dtype: DType }, "y"> = {
  name: "cast",
  infer({ x }, { dtype }) {
    if (!isFloat(x) || !isFloat({ dtype })) throw new CogwheelError("cast", `x must be f32 or f16, got ${x} to ${dtype}`);
    return { y: { shape: x.shape, dtype } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: 0, bytes: x.bytes + y.bytes }),
  lower: ({ inputs: { x }, outputs: { y } }, { caps }) => lowerUnary(kernel, x, y, caps),
};
