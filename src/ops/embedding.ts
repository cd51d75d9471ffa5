/** embedding: the rows of a table that ids name. Kernels: kernels/embed/. */
import { embedding as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

interface Inputs {
  ids: Tensor;
  table: Tensor;
}
interface Attrs {
  dtype: DType;
}

export interface EmbeddingOptions {
  /** Storage type of the result. Default f32. */
  dtype?: DType;
}

/**
 * ids [...] u32 and table [V, C] → [..., C]. C must be a multiple of 4. The table may be larger
 * than a binding; an id past it takes its last row.
 */
export function embedding(ids: Tensor, table: Tensor, options: EmbeddingOptions = {}): Tensor {
  return ids.graph.record(embeddingOp, { ids, table }, { dtype: options.dtype ?? "f32" }).y;
}

export const embeddingOp: Op<Inputs, Attrs, "y"> = {
  name: "embedding",
  infer({ ids, table }, { dtype }) {
    if (ids.dtype !== "u32") throw new CogwheelError("embedding", `ids must be u32, got ${ids}; convert them`);
    if (table.shape.length !== 2 || table.dim(1) % 4 || !isFloat(table))
      throw new CogwheelError(
        "embedding",
        `the table must be [V, C] in f32 or f16 with C a multiple of 4, got ${table}; choose another width`,
      );
    return { y: { shape: [...ids.shape, table.dim(1)], dtype } };
  },
  cost({ inputs: { ids, table }, outputs: { y } }) {
    return { flops: 0, bytes: ids.bytes + y.size * bytesOf[table.dtype] + y.bytes };
  },
  lower({ inputs: { ids, table }, outputs: { y } }, { caps }) {
    return lowerRows(ids, table, y, caps);
  },
};

/**
 * y [R, C] of the rows of `table` [..., C] that `ids` [R] name, where either may be larger than a binding.
 * @param zeros an id past the table is a row of zeros; else it takes the last row
 */
export function lowerRows(ids: Tensor, table: Tensor, y: Tensor, caps: Capabilities, zeros = false): Dispatch[] {
  const c = table.dim(-1);
  const vocab = table.size / c;
  return rowWindows(caps, vocab, [c * bytesOf[table.dtype]]).flatMap((part) =>
    rowWindows(caps, ids.size, [4, c * bytesOf[y.dtype]]).map((rows) =>
      dispatch({
        kernel,
        types: { T: table.dtype, Y: y.dtype },
        consts: { ZEROS: +zeros },
        params: { count: rows.count, c4: c / 4, first: part.start, rows: part.count, vocab },
        bindings: { ids: rowView(ids, rows, 1), table: rowView(table, part, c), y: rowView(y, rows, c) },
        grid: foldGrid(Math.ceil((rows.count * c) / 4 / 64), caps),
      }),
    ),
  );
}
