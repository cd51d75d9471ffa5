/** matmul_nn: y = x · w, such as the gradient with respect to the x of a product x · wᵀ. Kernels: kernels/matmul/. */
import { CogwheelError } from "../base/errors.ts";
import { type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import { padTo } from "../graph/packing.ts";
import type { Tensor } from "../graph/tensor.ts";
import { lowerMatmulNn } from "./matmul/lower-nn.ts";
import type { MatmulNnInputs } from "./matmul/operands.ts";

/**
 * x [..., N padded with zeros to a multiple of 4] and w [N, K] → [..., K padded with zeros to a multiple of 4]. w is read as matmul reads
 * it, so a weight that both read is on the device once. `dtype`: of the result. Default f32.
 */
export function matmulNn(x: Tensor, w: Tensor, dtype: DType = "f32"): Tensor {
  return x.graph.record(matmulNnOp, { x, w }, { dtype }).y;
}

export const matmulNnOp: Op<MatmulNnInputs, { dtype: DType }, "y"> = {
  name: "matmul_nn",
  infer({ x, w }, { dtype }) {
    if (w.shape.length !== 2 || !isFloat(x) || !isFloat(w) || x.dim(-1) !== padTo(w.dim(0), 4))
      throw new CogwheelError(
        "matmul_nn",
        `x must be f32 or f16 [..., N] and w [N, K], N of x padded to a multiple of 4, got ${x} and ${w}; reshape, pad or convert them`,
      );
    return { y: { shape: [...x.shape.slice(0, -1), padTo(w.dim(1), 4)], dtype } };
  },
  cost({ inputs: { x, w }, outputs: { y } }) {
    return { flops: 2 * y.size * x.dim(-1), bytes: x.bytes + w.bytes + y.bytes };
  },
  lower: lowerMatmulNn,
};
