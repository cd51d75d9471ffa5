/** layer_norm: LayerNorm over the last axis, with the expert modulation (1 + scale) and shift of its token fused in. */
import { layerNorm as rowKernel, layerNormSubgroup } from "#kernels";
import { CogwheelError } from "../errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { choiceKey } from "../graph/choice.ts";
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
    const consts = { AFFINE: +!!weight, MODULATE: +!!table, GATHER: +!!source };
    const variant = target.choose(choiceKey("layer_norm", { rows: y.size / d }, { d, affine: consts.AFFINE, modulated: consts.MODULATE }, [x.dtype, y.dtype]), layerNormCandidates(caps, y.size / d, d, !!weight && !!table));
    const rowBytes = d * bytesOf[x.dtype];
    // Rows of x that are not asked for may lie between those of a window: half of the limit leaves them room.
    const windowedSource = !!source && x.bytes > caps.maxBindingBytes;
    const windows = rowWindows(caps, y.size / d, [windowedSource ? 2 * rowBytes : source ? 4 : rowBytes, d * bytesOf[y.dtype], ...(rowOf || source ? [4] : [])]);
    return windows.map((w) => {
      const part = source ? gathered(x, source, w, target) : { x: rowView(x, w, d), source: undefined };
      const unused = part.source ?? part.x;
      const common = {
        types: { X: x.dtype, Y: y.dtype },
        bindings: {
          x: part.x,
          weight: weight ? vector(weight) : unused,
          bias: bias ? vector(bias) : unused,
          table: table ?? unused,
          row_of: rowOf ? rowView(rowOf, w, 1) : unused,
          source: part.source ?? unused,
          y: rowView(y, w, d),
        },
      };
      const params = { rows: w.count, d: attrs.width, stride4: d / 4, eps: attrs.eps };
      if (variant.name === "row") return dispatch({ kernel: rowKernel, ...common, params, consts: { ...consts, WG: variant.wg, PER: variant.per }, grid: foldGrid(w.count, caps) });
      const ROWS = variant.name === "held" ? 8 : 4;
      // Long spans spare what a workgroup begins with, as long as every thread of the adapter has several.
      const span = ROWS * Math.min(64 / ROWS, Math.max(1, Math.floor(w.count / 32 / ROWS)));
      return dispatch({
        kernel: layerNormSubgroup, ...common, params: { ...params, span }, consts: { ...consts, ROWS, HELD: variant.name === "held" ? d / 4 : 0 },
        overrides: { WG: variant.wg }, grid: foldGrid(Math.ceil(w.count / span), caps),
      });
    });
  },
};

const vector = (tensor: Tensor): View => ({ tensor, packing: tensor.role === "weight" ? "vector" : "natural" });

export type LayerNormVariant = RowNormVariant | { name: "held"; wg: number };

/** Above so many rows 0.3 seconds of compiling are worth what keeping gains spares. */
const MANY_ROWS = 512;

/**
 * Those of {@link rowNormCandidates}; and on CPU adapters, where the gain and offset of a column come from four vectors, the one that keeps
 * them in workgroup memory. With 8 lanes (lavapipe) that is the faster one; with 4 (SwiftShader) compiling it takes seconds.
 */
export function layerNormCandidates(caps: Capabilities, rows: number, d: number, gains: boolean): LayerNormVariant[] {
  const all = rowNormCandidates(caps, d);
  const [subgroup] = all;
  if (!gains || subgroup?.name !== "subgroup" || 32 * (d / 4 + 1) > caps.maxWorkgroupBytes) return all;
  const held = { name: "held", wg: subgroup.wg } as const;
  return subgroup.wg >= 8 && rows > MANY_ROWS ? [held, ...all] : [subgroup, held, ...all.slice(1)];
}

export type RowNormVariant = { name: "subgroup"; wg: number } | { name: "row"; wg: number; per: number };

/**
 * Every kernel of layer_norm and rms_norm that an adapter can run for rows of `d` columns, the one that is taken without a
 * measurement first: on CPU adapters the one without barriers; on GPUs a workgroup for a row, with as many threads as leave each at
 * most 4 vectors to hold.
 */
export function rowNormCandidates(caps: Capabilities, d: number): RowNormVariant[] {
  const lanes = caps.subgroups;
  const vectors = d / 4;
  const row = (wg: number): RowNormVariant => ({ name: "row", wg, per: Math.ceil(vectors / wg) });
  const sizes = [64, 128, 256].filter((wg) => wg <= caps.maxWorkgroupInvocations);
  const first = sizes.find((wg) => vectors <= 4 * wg) ?? sizes.at(-1)!;
  return [
    ...(caps.kind === "software" && lanes && lanes.min === lanes.max ? [{ name: "subgroup", wg: lanes.max } as const] : []),
    ...[first, ...sizes.filter((wg) => wg !== first && wg <= 2 * vectors)].map(row),
  ];
}

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
