/** unpack: a weight's bytes as they are stored (src/graph/stored.ts) → the layout and type in which kernels read it. Kernels: kernels/weights/. */
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, elements } from "../graph/dtype.ts";
import type { Op, View } from "../graph/op.ts";
import { packedBytes, padTo, type Packing } from "../graph/packing.ts";
import { storedBytes, type Format } from "../graph/stored.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch } from "../plan/dispatch.ts";
import { changeOf } from "../plan/low-rank.ts";
import { unpackDispatches } from "../plan/unpack-weight.ts";

interface Inputs {
  x: Tensor;
  scale?: Tensor | undefined;
  up?: Tensor | undefined;
  down?: Tensor | undefined;
}
interface Attrs {
  format: Format;
  shape: readonly number[];
  packing: Packing;
  dtype: "f32" | "f16";
}

/** How a stored weight is unpacked. */
export interface UnpackOptions {
  format: Format;
  /** [out, in], [out, in, …kernel] or [n]. */
  shape: readonly number[];
  packing: Packing;
  /** Storage type of the result. Default f32. */
  dtype?: "f32" | "f16";
  /** f32 [1] or [out]: values are multiplied with it. */
  scale?: Tensor;
  /** f32, [rank, out up to a multiple of 4] and [rank, in up to a multiple of 4], of a matrix [out, in]: up transposed · down is added. */
  change?: { up: Tensor; down: Tensor };
}

/** x u32, the stored bytes → the packed weight, flat, with zeros up to a multiple of 8 values; as words, u32, where the packing is q8. */
export function unpack(x: Tensor, { format, shape, packing, dtype = "f32", scale, change }: UnpackOptions): Tensor {
  return x.graph.record(unpackOp, { x, scale, up: change?.up, down: change?.down }, { format, shape, packing, dtype }).y;
}

export const unpackOp: Op<Inputs, Attrs, "y"> = {
  name: "unpack",
  infer({ x, scale, up, down }, { format, shape, packing, dtype }) {
    const words = Math.ceil(storedBytes({ shape, format }) / 4);
    if (x.dtype !== "u32" || x.size !== words)
      throw new CogwheelError(
        "unpack",
        `x must be u32 [${words}], the bytes of ${format} [${shape.join(", ")}], got ${x}; correct the shape`,
      );
    if (scale && !(scale.dtype === "f32" && (scale.size === 1 || scale.size === shape[0])))
      throw new CogwheelError("unpack", `a scale must be f32 [1] or [${shape[0]}], got ${scale}; give one, or one a row`);
    if (up && down) {
      const [out, inner] = [padTo(shape[0]!, 4), padTo(shape[1] ?? 0, 4)];
      const rank = up.dim(0);
      const fits = up.dtype === "f32" && down.dtype === "f32" && up.size === rank * out && down.size === rank * inner;
      if (shape.length !== 2 || !fits)
        throw new CogwheelError(
          "unpack",
          `a change must be of a matrix, f32 [rank, ${out}] and [rank, ${inner}], got ${up} and ${down} for [${shape.join(", ")}]`,
        );
    }
    const type = packing === "q8" ? "u32" : dtype;
    return { y: { shape: [padTo(packedBytes(shape, packing, dtype) / bytesOf[type], 8)], dtype: type } };
  },
  cost({ inputs: { x, up }, attrs: { shape }, outputs: { y } }) {
    return { flops: 2 * elements(shape) * (up?.dim(0) ?? 0), bytes: x.bytes + y.bytes };
  },
  lower({ inputs: { x, scale, up, down }, attrs, outputs: { y } }, { caps, scratch, constant }) {
    // Bound in place of what this weight does not have: read-only, and the counters.
    const [none, loss] = [constant("none", new Float32Array(4), [4]), scratch([64], "u32")];
    const changes = up && { rank: up.dim(0), changeOf };
    const part = { ...attrs, firstRow: 0, rows: attrs.shape[0]!, from: 0, at: 0, ...(scale && { scales: scale.size }), ...changes };
    const dispatches = unpackDispatches(part, caps);
    const most = Math.max(...dispatches.map(({ change }) => change));
    const change = most ? scratch([most / 4], "f32") : none;
    return dispatches.map(({ kernel, consts, overrides, params, grid, x: from, y: to, bound: named }) => {
      const bound: Record<string, Tensor | View> = {
        x: { tensor: x, ...from },
        y: { tensor: y, ...to },
        scales: scale ?? none,
        up: up ?? none,
        down: down ?? none,
        change,
        loss,
      };
      const bindings = Object.fromEntries(Object.keys(kernel.bindings).map((name) => [name, bound[named?.[name] ?? name]!]));
      return dispatch({ kernel, consts, ...(overrides ? { overrides } : {}), params, bindings, grid });
    });
  },
};
