/** layer_norm: LayerNorm over the last axis, with the expert modulation (1 + scale) and shift of its token fused in. */
import { layerNorm as kernel } from "#kernels";
import { CogwheelError } from "../errors.ts";
import { dispatch, foldGrid, gcd, rowView, rowWindows, type RowWindow, type Target, type View } from "../graph/dispatch.ts";
import { bytesOf, type DType, type Op, type Tensor } from "../graph/graph.ts";

interface Inputs { x: Tensor; weight: Tensor | undefined; bias: Tensor | undefined; table: Tensor | undefined; rowOf: Tensor | undefined; source: Tensor | undefined }
interface Attrs { dtype: DType; eps: number; width: number }

export interface LayerNormOptions {
  weight?: Tensor;
  bias?: Tensor;
  /** table [G, D] f32, rows [R] u32: row `rows[r]` holds the shift of token r and the following row its scale. */
  modulation?: { table: Tensor; rows: Tensor };
  /** [R'] u32: normalise only these rows of x, in this order. */
  source?: Tensor;
  /** Default 1e-5. */
  eps?: number;
  /** Columns that count; those past it are padding. Default: all. */
  width?: number;
  /** Storage type of the result. Default f32. */
  dtype?: DType;
}

/** x [R, D] → [R, D], or [R', D] with `source`. D: a multiple of 4. */
export function layerNorm(x: Tensor, options: LayerNormOptions = {}): Tensor {
  const { weight, bias, modulation, source } = options;
  return x.graph.record(
    layerNormOp,
    { x, weight, bias, table: modulation?.table, rowOf: modulation?.rows, source },
    { dtype: options.dtype ?? "f32", eps: options.eps ?? 1e-5, width: options.width ?? x.dim(-1) },
  ).y;
}

export const layerNormOp: Op<Inputs, Attrs, "y"> = {
  name: "layer_norm",
  infer({ x, weight, bias, table, rowOf, source }, { dtype, width }) {
    const d = x.dim(-1);
    const rows = source ? source.size : x.size / d;
    if (d % 4) throw new CogwheelError("layer_norm", `the last axis must be a multiple of 4, got ${x}; pad it`);
    if (!weight !== !bias || (weight && (weight.size < width || bias!.size < width))) throw new CogwheelError("layer_norm", `weight and bias must both have ${width} values, got ${weight} and ${bias}`);
    if (table && (table.dim(-1) !== d || table.dtype !== "f32" || rowOf?.size !== rows || rowOf.dtype !== "u32")) throw new CogwheelError("layer_norm", `modulation must be f32 [G, ${d}] with ${rows} u32 rows, got ${table} and ${rowOf}`);
    return { y: { shape: source ? [rows, d] : x.shape, dtype } };
  },
  cost({ inputs: { x }, outputs: { y } }) {
    return { flops: 10 * y.size, bytes: (y.bytes / bytesOf[y.dtype]) * bytesOf[x.dtype] + y.bytes };
  },
  lower({ inputs: { x, weight, bias, table, rowOf, source }, attrs, outputs: { y } }, target) {
    const { caps } = target;
    const d = x.dim(-1);
    const consts = { AFFINE: +!!weight, MODULATE: +!!table, GATHER: +!!source, WG: caps.kind === "software" ? 8 : d >= 1024 ? 128 : 64 };
    const rowBytes = d * bytesOf[x.dtype];
    // Rows of x that are not asked for may lie between those of a window: half of the limit leaves them room.
    const windowedSource = !!source && x.bytes > caps.maxBindingBytes;
    const windows = rowWindows(caps, y.size / d, [windowedSource ? 2 * rowBytes : source ? 4 : rowBytes, d * bytesOf[y.dtype], ...(rowOf || source ? [4] : [])]);
    return windows.map((w) => {
      const part = source ? gathered(x, source, w, target) : { x: rowView(x, w, d), source: undefined };
      const unused = part.source ?? part.x;
      return dispatch({
        kernel, consts, types: { X: x.dtype, Y: y.dtype },
        params: { rows: w.count, d: attrs.width, stride4: d / 4, eps: attrs.eps },
        bindings: {
          x: part.x,
          weight: weight ? { tensor: weight, packing: weight.role === "weight" ? "vector" : "natural" } : unused,
          bias: bias ? { tensor: bias, packing: bias.role === "weight" ? "vector" : "natural" } : unused,
          table: table ?? unused,
          row_of: rowOf ? rowView(rowOf, w, 1) : unused,
          source: part.source ?? unused,
          y: rowView(y, w, d),
        },
        grid: foldGrid(w.count, caps),
      });
    });
  },
};

/** The rows of x that a window of `source` names, and where they are among them. x is bound whole where it fits. */
function gathered(x: Tensor, source: Tensor, w: RowWindow, { caps, constant }: Target): { x: Tensor | View; source: View } {
  if (x.bytes <= caps.maxBindingBytes) return { x, source: rowView(source, w, 1) };
  const rows = (source.data as Uint32Array).subarray(w.start, w.start + w.count);
  const rowBytes = x.dim(-1) * bytesOf[x.dtype];
  const step = caps.offsetAlignment / gcd(caps.offsetAlignment, rowBytes);
  const first = Math.floor(rows.reduce((a, b) => Math.min(a, b)) / step) * step;
  const count = rows.reduce((a, b) => Math.max(a, b)) - first + 1;
  return { x: { tensor: x, offset: first * rowBytes, bytes: count * rowBytes }, source: { tensor: constant("source", rows.map((r) => r - first), [rows.length]) } };
}
