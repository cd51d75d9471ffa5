/**
 * layer_norm_gradient_sums: gradients of a LayerNorm's weight, bias and modulation, which are sums over rows. With x̂ the normalised row,
 * all of them follow from Σ dy and Σ dy · x̂ over the tokens of each modulation. Those are summed in parts of some rows, then part by
 * part: in an order that only shapes decide. Kernels: kernels/norm/.
 */
import { layerNormGradientAffine, layerNormGradientSums as sumsKernel, layerNormGradientTable } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Op } from "../graph/op.ts";
import type { Tensor, TensorSpec } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { rowTasks } from "./rows/tasks.ts";
import { sumGroups } from "./reduce/groups.ts";

interface Inputs {
  x: Tensor;
  dy: Tensor;
  statistics: Tensor;
  weight: Tensor | undefined;
  bias: Tensor | undefined;
  table: Tensor | undefined;
  rowOf: Tensor | undefined;
}
interface Attrs {
  /** Columns that count. */
  width: number;
  onePlus: boolean;
  scaleFirst: boolean;
  /** Whose gradients are asked for. */
  of: { readonly affine: boolean; readonly table: boolean };
}
type Results = "dweight" | "dbias" | "dtable";

/**
 * x and dy [R, D], `statistics` [R, 2] of layer_norm_gradient, weight, bias, table and rows as in layer_norm → those that are asked for,
 * f32 in the shapes of their operands: dweight and dbias, dtable. Rows of the table that no token names get zeros.
 */
export function layerNormGradientSums(inputs: Inputs, attrs: Attrs): { dweight?: Tensor; dbias?: Tensor; dtable?: Tensor } {
  return inputs.x.graph.record(layerNormGradientSumsOp, inputs, attrs);
}

export const layerNormGradientSumsOp: Op<Inputs, Attrs, Results> = {
  name: "layer_norm_gradient_sums",
  infer({ x, dy, statistics, weight, bias, table, rowOf }, { of }) {
    const d = x.dim(-1);
    if (x.shape.join() !== dy.shape.join() || statistics.size !== (2 * x.size) / d || !isFloat(x) || !isFloat(dy) || d % 4)
      throw new CogwheelError(
        "layer_norm_gradient_sums",
        `x and dy must be of one shape, the last axis a multiple of 4, with statistics [R, 2], got ${x}, ${dy} and ${statistics}`,
      );
    if ((!of.affine && !of.table) || (of.affine && !(weight && bias)) || (of.table && !(table && rowOf)))
      throw new CogwheelError(
        "layer_norm_gradient_sums",
        `gradients must be asked for of operands that are there, got ${JSON.stringify(of)} ` +
          `of ${weight ?? "no weight"} and ${table ?? "no table"}; leave out the others`,
      );
    const spec = ({ shape }: Tensor): TensorSpec => ({ shape, dtype: "f32" });
    return {
      ...(of.affine ? { dweight: spec(weight!), dbias: spec(bias!) } : {}),
      ...(of.table ? { dtable: spec(table!) } : {}),
    } as Record<Results, TensorSpec>;
  },
  cost: ({ inputs: { x, dy } }) => ({ flops: 6 * x.size, bytes: x.bytes + dy.bytes }),
  lower({ inputs: { x, dy, statistics, weight, bias, table, rowOf }, attrs, outputs }, target) {
    const { caps } = target;
    const d = x.dim(-1);
    // Few lanes with much to do on CPU adapters; on GPUs a thread for each vector of columns.
    const [wg, per] = caps.kind === "software" ? [caps.subgroups?.max ?? 8, 4] : [64, 1];
    const blocks = Math.ceil(d / 4 / (wg * per));
    const windows = rowWindows(caps, x.size / d, [...[x, dy].map(({ dtype }) => d * bytesOf[dtype]), 8, ...(rowOf ? [4] : [])]);
    const most = Math.floor(caps.maxBindingBytes / (8 * d));
    const tasks = rowTasks(windows, table && rowOf ? { of: rowOf, count: table.size / d } : undefined, { blocks, most }, caps);
    const parts = target.scratch([tasks.slots, 2, d], "f32");
    const sums = target.scratch([tasks.groups.length, 2, d], "f32");
    const unused = { tensor: statistics };
    const dispatches: Dispatch[] = windows.map((w, i) =>
      dispatch({
        kernel: sumsKernel,
        types: { X: x.dtype, G: dy.dtype },
        consts: { PER: per, GROUPED: +!!table },
        overrides: { WG: wg },
        params: { tasks: tasks.windows[i]!.length / 4, columns4: d / 4 },
        bindings: {
          x: rowView(x, w, d),
          dy: rowView(dy, w, d),
          statistics: rowView(statistics, w, 2),
          row_of: rowOf ? rowView(rowOf, w, 1) : rowView(statistics, w, 2),
          tasks: target.constant("tasks", tasks.windows[i]!, [tasks.windows[i]!.length]),
          parts,
        },
        grid: foldGrid((tasks.windows[i]!.length / 4) * blocks, caps),
      }),
    );
    dispatches.push(sumGroups(parts, tasks.first, sums, target));
    if (attrs.of.table)
      dispatches.push(
        dispatch({
          kernel: layerNormGradientTable,
          consts: { AFFINE: +!!weight, SCALE_FIRST: +attrs.scaleFirst },
          params: { rows: table!.size / d, d: attrs.width, stride4: d / 4 },
          bindings: {
            sums,
            slot_of: target.constant("slot of", tasks.groupOf(table!.size / d), [table!.size / d]),
            weight: weight ? { tensor: weight, packing: "vector" } : unused,
            bias: bias ? { tensor: bias, packing: "vector" } : unused,
            dtable: outputs.dtable,
          },
          grid: foldGrid(Math.ceil(table!.size / 4 / 64), caps),
        }),
      );
    if (attrs.of.affine)
      dispatches.push(
        dispatch({
          kernel: layerNormGradientAffine,
          consts: { MODULATE: +!!table, ONE_PLUS: +attrs.onePlus, SCALE_FIRST: +attrs.scaleFirst },
          params: { columns: weight!.size, d: attrs.width, stride: d, count: tasks.groups.length },
          bindings: {
            sums,
            table: table ?? unused,
            modulations: target.constant("modulations", tasks.groups, [tasks.groups.length]),
            dweight: outputs.dweight,
            dbias: outputs.dbias,
          },
          grid: foldGrid(Math.ceil(weight!.size / 64), caps),
        }),
      );
    return dispatches;
  },
};
