/** quantize: values as they are stored → ggml's blocks of 8 or 4 bits (src/graph/stored.ts), to the byte of the host's. Kernels: kernels/weights/. */
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import { storedBytes } from "../graph/stored.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch } from "../plan/dispatch.ts";
import { quantizeDispatches, type QuantizedFrom, type QuantizedTo } from "../plan/quantize-weight.ts";

/** What `quantizeBlocks` reads and gives. */
export interface QuantizeBlocksOptions {
  /** How x is stored, and what it becomes. */
  from: QuantizedFrom;
  to: QuantizedTo;
  /** How many values: whole blocks of 32. */
  count: number;
}

/** x u32, the stored bytes → the blocks, as words. */
export function quantize(x: Tensor, options: QuantizeBlocksOptions): Tensor {
  return x.graph.record(quantizeOp, { x }, options).y;
}

export const quantizeOp: Op<{ x: Tensor }, QuantizeBlocksOptions, "y"> = {
  name: "quantize",
  infer({ x }, { from, to, count }) {
    const bytes = storedBytes({ shape: [count], format: from });
    if (count % 32 || x.dtype !== "u32" || 4 * x.size !== bytes)
      throw new CogwheelError("quantize", `x must be the u32 words of whole blocks of 32 in ${from}, got ${x} for ${count}; pad the rows`);
    return { y: { shape: [Math.ceil(storedBytes({ shape: [count], format: to }) / 4)], dtype: "u32" } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: 0, bytes: x.bytes + y.bytes }),
  lower({ inputs: { x }, attrs: { from, to, count }, outputs: { y } }, { caps }) {
    return quantizeDispatches({ from, to, blocks: count / 32, at: { x: 0, y: 0 } }, caps).map(({ x: values, y: blocks, ...launch }) =>
      dispatch({ ...launch, bindings: { x: { tensor: x, ...values }, y: { tensor: y, ...blocks } } }),
    );
  },
};
