/** gather_rows: rows of a matrix in another order, zeros where none is named. Kernels: kernels/embed/. */
import { CogwheelError } from "../base/errors.ts";
import { isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { lowerRows } from "./embedding.ts";

interface Inputs {
  x: Tensor;
  index: Tensor;
  inverse: Tensor;
}

/** What an index holds where it names no row: the result is zeros there. */
export const NO_ROW = 0xffffffff;

/**
 * x [R, C] → [M, C], of its type: row m is row `index[m]` of x, zeros where that is {@link NO_ROW}. A row of x is named once at most, and
 * `inverse` says where: `inverse[index[m]]` is m, {@link NO_ROW} for a row that is not named. C: a multiple of 4.
 * @param index u32 [M]
 * @param inverse u32 [R]
 */
export function gatherRows(x: Tensor, index: Tensor, inverse: Tensor): Tensor {
  return x.graph.record(gatherRowsOp, { x, index, inverse }, {}).y;
}

export const gatherRowsOp: Op<Inputs, object, "y"> = {
  name: "gather_rows",
  infer({ x, index, inverse }) {
    if (x.shape.length !== 2 || x.dim(1) % 4 || !isFloat(x))
      throw new CogwheelError("gather_rows", `x must be [R, C] in f32 or f16 with C a multiple of 4, got ${x}; reshape or convert it`);
    if (index.dtype !== "u32" || inverse.dtype !== "u32" || inverse.size !== x.dim(0))
      throw new CogwheelError(
        "gather_rows",
        `the index and its inverse must be u32, the inverse with ${x.dim(0)} values for the rows of x, got ${index} and ${inverse}`,
      );
    return { y: { shape: [index.size, x.dim(1)], dtype: x.dtype } };
  },
  cost: ({ inputs: { index }, outputs: { y } }) => ({ flops: 0, bytes: index.bytes + 2 * y.bytes }),
  lower: ({ inputs: { x, index }, outputs: { y } }, { caps }) => lowerRows(index, x, y, caps, true),
};
