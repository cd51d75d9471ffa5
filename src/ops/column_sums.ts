/** column_sums: the sum of each column, such as the gradient of a bias. Kernels: kernels/reduce/. */
import { columnSums as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { chunksOf, chunkView, sumParts } from "./reduce/parts.ts";

/** Workgroups of the first stage at least, where there are rows enough: so many fill a GPU. */
const ENOUGH = 512;
/** Rows of a chunk at least: fewer are not worth a part of the sums. */
const ROWS = 32;

/** x [..., N padded to a multiple of 4], f32 or f16 → the sums of its first `columns` columns, f32. */
export function columnSums(x: Tensor, columns = x.dim(-1)): Tensor {
  return x.graph.record(columnSumsOp, { x }, { columns }).y;
}

export const columnSumsOp: Op<{ x: Tensor }, { columns: number }, "y"> = {
  name: "column_sums",
  infer({ x }, { columns }) {
    if (!isFloat(x) || x.dim(-1) % 4 || columns > x.dim(-1))
      throw new CogwheelError("column_sums", `x must be f32 or f16 with a multiple of 4 columns, got ${x} for ${columns}; pad it`);
    return { y: { shape: [columns], dtype: "f32" } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: x.size, bytes: x.bytes + y.bytes }),
  lower({ inputs: { x }, outputs: { y } }, target) {
    const { caps } = target;
    const n = x.dim(-1);
    const across = Math.ceil(n / 4 / kernel.overrides.WG);
    const chunks = chunksOf(
      caps,
      x.size / n,
      Math.min(Math.ceil(ENOUGH / across), Math.ceil(x.size / n / ROWS)),
      [n * bytesOf[x.dtype]],
      n * 4,
    );
    const sums = target.scratch([chunks.count, n], "f32");
    return [
      ...chunks.windows.map((window) => {
        const groups = window.chunks * across;
        return dispatch({
          kernel,
          types: { X: x.dtype },
          params: { m: window.rows, n4: n / 4, chunk: chunks.rows, groups, part: window.first },
          bindings: { x: chunkView(x, window, n), sums },
          grid: foldGrid(groups, caps),
        });
      }),
      ...sumParts(caps, sums, y, { columns: y.size, stride: n }),
    ];
  },
};
