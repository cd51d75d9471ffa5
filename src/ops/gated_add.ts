/** gated_add: y = gate[row] · x (+ residual), apart from the product that it follows. Kernels: kernels/elementwise/. */
import { gatedAdd as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import { assertRows } from "../graph/row-index.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

interface Inputs {
  x: Tensor;
  table: Tensor;
  rows: Tensor;
  residual: Tensor | undefined;
}

/** What `gatedAdd` takes beside its input. */
export interface GatedAddOptions {
  /** [..., N] f32 */
  residual?: Tensor;
  /** Storage type of the result. Default f32. */
  dtype?: DType;
}

/** x [..., N], N a multiple of 4; a table [G, N] f32 and `rows` [M] u32: row m of x is scaled by row `rows[m]` of the table. */
export function gatedAdd(x: Tensor, gate: { table: Tensor; rows: Tensor }, { residual, dtype = "f32" }: GatedAddOptions = {}): Tensor {
  return x.graph.record(gatedAddOp, { x, ...gate, residual }, { dtype }).y;
}

export const gatedAddOp: Op<Inputs, { dtype: DType }, "y"> = {
  name: "gated_add",
  infer({ x, table, rows, residual }, { dtype }) {
    const n = x.dim(-1);
    if (!isFloat(x) || n % 4) throw new CogwheelError("gated_add", `x must be f32 or f16 with a multiple of 4 columns, got ${x}; pad it`);
    if (table.dim(-1) !== n || table.dtype !== "f32" || rows.size !== x.size / n || rows.dtype !== "u32")
      throw new CogwheelError(
        "gated_add",
        `a gate must be f32 [G, ${n}] with one u32 row for each of ${x.size / n} tokens, got ${table} and ${rows}; check both`,
      );
    assertRows("gated_add", "the gate", rows, table.size / n);
    if (residual && (residual.size !== x.size || residual.dtype !== "f32"))
      throw new CogwheelError("gated_add", `the residual must be f32 of the size of x, got ${residual} for ${x}; convert it`);
    return { y: { shape: x.shape, dtype } };
  },
  mayTake: () => ({ y: "residual" }),
  cost({ inputs: { x, residual }, outputs: { y } }) {
    return { flops: (residual ? 2 : 1) * y.size, bytes: x.bytes + (residual?.bytes ?? 0) + y.bytes };
  },
  lower({ inputs: { x, table, rows, residual }, outputs: { y } }, { caps, inPlace }) {
    const n = x.dim(-1);
    const bytes = [n * bytesOf[x.dtype], n * bytesOf[y.dtype], ...(residual ? [n * 4] : []), 4];
    return rowWindows(caps, x.size / n, bytes).map((window) =>
      dispatch({
        kernel,
        types: { X: x.dtype, Y: y.dtype },
        consts: { RESIDUAL: +(residual !== undefined && !inPlace), ACCUMULATE: +inPlace },
        params: { count4: (window.count * n) / 4, n4: n / 4 },
        bindings: {
          x: rowView(x, window, n),
          gate: table,
          gate_row: rowView(rows, window, 1),
          residual: residual && !inPlace ? rowView(residual, window, n) : rowView(x, window, n),
          y: rowView(y, window, n),
        },
        grid: foldGrid(Math.ceil((window.count * n) / 256), caps),
      }),
    );
  },
};
