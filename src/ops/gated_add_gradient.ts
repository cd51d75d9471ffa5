/** gated_add_gradient: for each row of a table of gates, the sum of x · dy over the tokens that name it. Kernels: kernels/reduce/. */
import { gateSums } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { chunkView, chunksOf, sumParts } from "./reduce/parts.ts";

interface Inputs {
  x: Tensor;
  dy: Tensor;
  rows: Tensor;
}

/** Workgroups that go through tokens at least, where there are tokens enough: so many fill a GPU. */
const ENOUGH = 512;
/** Tokens of a chunk at least: fewer are not worth a part of the sums. */
const TOKENS = 64;

/** x and dy [..., N] f32 or f16, `rows` [M] u32 → the gradient of a table of `shape` [G, N], f32. A row that no token names gets zeros. */
export function gatedAddGradient(x: Tensor, dy: Tensor, rows: Tensor, shape: readonly number[]): Tensor {
  return x.graph.record(gatedAddGradientOp, { x, dy, rows }, { shape }).table;
}

export const gatedAddGradientOp: Op<Inputs, { shape: readonly number[] }, "table"> = {
  name: "gated_add_gradient",
  infer({ x, dy, rows }, { shape }) {
    const n = x.dim(-1);
    if (
      !isFloat(x) ||
      !isFloat(dy) ||
      x.size !== dy.size ||
      n % 4 ||
      shape.at(-1) !== n ||
      rows.size !== x.size / n ||
      rows.dtype !== "u32"
    )
      throw new CogwheelError(
        "gated_add_gradient",
        "x and dy must be f32 or f16 of one size, as wide as the table and in multiples of 4, with one u32 row a token, " +
          `got ${x}, ${dy} and ${rows} for [${shape.join(", ")}]; check them`,
      );
    return { table: { shape, dtype: "f32" } };
  },
  cost({ inputs: { x, dy }, outputs: { table } }) {
    return { flops: 2 * x.size, bytes: x.bytes + dy.bytes + table.bytes };
  },
  lower({ inputs: { x, dy, rows }, outputs: { table: y } }, target) {
    const { caps } = target;
    const n = x.dim(-1);
    const m = x.size / n;
    const table = y.size / n;
    const across = Math.ceil(n / 4 / gateSums.overrides.WG);
    const chunks = chunksOf(
      caps,
      m,
      Math.min(Math.ceil(ENOUGH / table / across), Math.ceil(m / TOKENS)),
      [n * bytesOf[x.dtype], n * bytesOf[dy.dtype], 4],
      table * n * 4,
    );
    const sums = target.scratch([chunks.count, table, n], "f32");
    return [
      ...chunks.windows.map((window) => {
        const groups = window.chunks * table * across;
        return dispatch({
          kernel: gateSums,
          types: { X: x.dtype, G: dy.dtype },
          params: { m: window.rows, n4: n / 4, table, chunk: chunks.rows, groups, part: window.first },
          bindings: {
            x: chunkView(x, window, n),
            dy: chunkView(dy, window, n),
            rows: chunkView(rows, window, 1),
            sums,
          },
          grid: foldGrid(groups, caps),
        });
      }),
      ...sumParts(caps, sums, y, { columns: n, stride: n }),
    ];
  },
};
