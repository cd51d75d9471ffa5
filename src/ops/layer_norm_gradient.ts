/** layer_norm_gradient: dx of a LayerNorm with the scale and shift of its token, and the statistics of x's rows. Kernels: kernels/norm/. */
import { layerNormGradient as rowKernel, layerNormGradientSubgroup } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { choiceKey } from "../plan/choice.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { rowNormCandidates } from "./rows/norm.ts";

interface Inputs {
  x: Tensor;
  dy: Tensor;
  weight: Tensor | undefined;
  table: Tensor | undefined;
  rowOf: Tensor | undefined;
}
interface Attrs {
  eps: number;
  /** Columns that count. */
  width: number;
  onePlus: boolean;
  scaleFirst: boolean;
}

/**
 * x [R, D] and dy of its shape → dx, of the shape and type of x, and `statistics` [R, 2] f32, the mean and the reciprocal deviation of
 * each row. Weight, table and rows as in layer_norm.
 */
export function layerNormGradient(inputs: Inputs, attrs: Attrs): { dx: Tensor; statistics: Tensor } {
  return inputs.x.graph.record(layerNormGradientOp, inputs, attrs);
}

export const layerNormGradientOp: Op<Inputs, Attrs, "dx" | "statistics"> = {
  name: "layer_norm_gradient",
  infer({ x, dy, weight, table, rowOf }, { width }) {
    const d = x.dim(-1);
    if (x.shape.join() !== dy.shape.join() || !isFloat(x) || !isFloat(dy) || d % 4)
      throw new CogwheelError(
        "layer_norm_gradient",
        `x and dy must be f32 or f16 of one shape, the last axis a multiple of 4, got ${x} and ${dy}; reshape or convert them`,
      );
    if ((weight && weight.size < width) || (table && (table.dim(-1) !== d || rowOf?.size !== x.size / d)))
      throw new CogwheelError(
        "layer_norm_gradient",
        "weight and modulation must be those of the norm, " +
          `got ${weight ?? "no weight"}, ${table ?? "no table"}, ${rowOf ?? "no rows"} for ${x}; pass what the norm was given`,
      );
    return { dx: { shape: x.shape, dtype: x.dtype }, statistics: { shape: [x.size / d, 2], dtype: "f32" } };
  },
  mayTake: () => ({ dx: "dy" }),
  cost: ({ inputs: { x, dy }, outputs: { dx } }) => ({ flops: 20 * dx.size, bytes: x.bytes + dy.bytes + dx.bytes }),
  lower({ inputs: { x, dy, weight, table, rowOf }, attrs, outputs: { dx, statistics } }, target) {
    const { caps, inPlace } = target;
    const d = x.dim(-1);
    const rows = x.size / d;
    const consts = {
      AFFINE: +!!weight,
      MODULATE: +!!table,
      PADDED: +(attrs.width < d),
      ONE_PLUS: +attrs.onePlus,
      SCALE_FIRST: +attrs.scaleFirst,
      IN_PLACE: +inPlace,
    };
    const variant = target.choose(
      choiceKey("layer_norm_gradient", { rows }, { d, affine: consts.AFFINE, modulated: consts.MODULATE }, [x.dtype, dy.dtype]),
      rowNormCandidates(caps, d),
    );
    const rowBytes = [x, dy].map(({ dtype }) => d * bytesOf[dtype]);
    return rowWindows(caps, rows, [...rowBytes, 8, ...(rowOf ? [4] : [])]).map((w) => {
      const unused = rowView(x, w, d);
      const common = {
        types: { X: x.dtype, G: dy.dtype, Y: dx.dtype },
        bindings: {
          x: rowView(x, w, d),
          dy: inPlace ? unused : rowView(dy, w, d),
          weight: weight ? { tensor: weight, packing: "vector" as const } : unused,
          table: table ?? unused,
          row_of: rowOf ? rowView(rowOf, w, 1) : unused,
          dx: rowView(dx, w, d),
          statistics: rowView(statistics, w, 2),
        },
      };
      const params = { rows: w.count, d: attrs.width, stride4: d / 4, eps: attrs.eps };
      if (variant.name === "row")
        return dispatch({
          kernel: rowKernel,
          ...common,
          params,
          consts: { ...consts, WG: variant.wg, PER: variant.per },
          grid: foldGrid(w.count, caps),
        });
      // Four rows share reads; 32 workgroups at least, so that every thread of the adapter has several.
      const span = 4 * Math.min(8, Math.max(1, Math.floor(w.count / 128)));
      return dispatch({
        kernel: layerNormGradientSubgroup,
        ...common,
        params: { ...params, span },
        consts,
        overrides: { WG: variant.wg },
        grid: foldGrid(Math.ceil(w.count / span), caps),
      });
    });
  },
};
