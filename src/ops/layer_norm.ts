/** layer_norm: LayerNorm over the last axis, with the scale and shift of its token fused in. Kernels: kernels/norm/. */
import { layerNorm as rowKernel, layerNormSubgroup } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Op, Target, View } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { choiceKey } from "../plan/choice.ts";
import { dispatch, foldGrid, gcd, rowView, type RowWindow, rowWindows } from "../plan/dispatch.ts";
import { lowerRows } from "./embedding.ts";
import { assertRows } from "../graph/row-index.ts";
import { rowNormCandidates, type RowNormVariant } from "./rows/norm.ts";

interface Inputs {
  x: Tensor;
  weight: Tensor | undefined;
  bias: Tensor | undefined;
  table: Tensor | undefined;
  rowOf: Tensor | undefined;
  source: Tensor | undefined;
}
interface Attrs {
  dtype: DType;
  eps: number;
  width: number;
  onePlus: boolean;
  scaleFirst: boolean;
}

/** Scale and shift of each row: LayerNorm(x) · (1 + scale) + shift. */
export interface Modulation {
  /** [G, D] f32 */
  table: Tensor;
  /** [R] u32: row `rows[r]` of the table holds the shift of token r and the following row its scale. */
  rows: Tensor;
  /** Scales by 1 + scale; else by scale. Default true. */
  onePlus?: boolean;
  /** The scale lies in row `rows[r]`, the shift in the following one. Default false. */
  scaleFirst?: boolean;
}

export interface LayerNormOptions {
  weight?: Tensor;
  bias?: Tensor;
  modulation?: Modulation;
  /** [R'] u32: normalise only these rows of x, in this order. They lie within x. */
  source?: Tensor;
  /** Default 1e-5. */
  eps?: number;
  /** Columns that count; those past it are padding, zeros in the result whatever x holds there. Default: all. */
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
    {
      dtype: options.dtype ?? "f32",
      eps: options.eps ?? 1e-5,
      width: options.width ?? x.dim(-1),
      onePlus: modulation?.onePlus ?? true,
      scaleFirst: modulation?.scaleFirst ?? false,
    },
  ).y;
}

export const layerNormOp: Op<Inputs, Attrs, "y"> = {
  name: "layer_norm",
  infer({ x, weight, bias, table, rowOf, source }, { dtype, width, scaleFirst }) {
    const d = x.dim(-1);
    const rows = source ? source.size : x.size / d;
    if (d % 4) throw new CogwheelError("layer_norm", `the last axis must be a multiple of 4, got ${x}; pad it`);
    if (!isFloat(x)) throw new CogwheelError("layer_norm", `x must be f32 or f16, got ${x}; convert it`);
    if (!Number.isInteger(width) || width < 1 || width > d)
      throw new CogwheelError("layer_norm", `the columns that count must be 1 to ${d}, got ${width}; check the width`);
    const vectors = [weight, bias].filter((v) => v !== undefined);
    if (vectors.length === 1 || vectors.some((v) => v.size < width || v.dtype !== "f32"))
      throw new CogwheelError(
        "layer_norm",
        `weight and bias must both have ${width} values in f32, ` +
          `got ${weight ?? "none"} and ${bias ?? "none"}; pass both in f32, or neither`,
      );
    if (table && (table.dim(-1) !== d || table.dtype !== "f32" || rowOf?.size !== rows || rowOf.dtype !== "u32"))
      throw new CogwheelError(
        "layer_norm",
        `modulation must be f32 [G, ${d}] with ${rows} u32 rows, got ${table} and ${rowOf ?? "none"}; convert or reshape them`,
      );
    if (source && source.dtype !== "u32")
      throw new CogwheelError("layer_norm", `the rows that are asked for must be u32, got ${source}; convert them`);
    if (source) assertRows("layer_norm", "x", source, x.size / d);
    // Scale and shift are in two rows after each other.
    if (table) assertRows("layer_norm", `the modulation's ${scaleFirst ? "scales" : "shifts"}`, rowOf!, table.size / d - 1);
    return { y: { shape: source ? [rows, d] : x.shape, dtype } };
  },
  cost({ inputs: { x }, outputs: { y } }) {
    return { flops: 10 * y.size, bytes: (y.bytes / bytesOf[y.dtype]) * bytesOf[x.dtype] + y.bytes };
  },
  lower({ inputs: { x, weight, bias, table, rowOf, source }, attrs, outputs: { y } }, target) {
    const { caps } = target;
    const d = x.dim(-1);
    const windows = (rowBytes: number) => rowWindows(caps, y.size / d, [rowBytes, d * bytesOf[y.dtype], ...(rowOf || source ? [4] : [])]);
    const rowBytes = d * bytesOf[x.dtype];
    const gather = source && gathered(x, source, windows, target);
    const consts = {
      AFFINE: +!!weight,
      MODULATE: +!!table,
      GATHER: +!!gather,
      PADDED: +(attrs.width < d),
      ONE_PLUS: +attrs.onePlus,
      SCALE_FIRST: +attrs.scaleFirst,
    };
    const variant = target.choose(
      choiceKey("layer_norm", { rows: y.size / d }, { d, affine: consts.AFFINE, modulated: consts.MODULATE }, [x.dtype, y.dtype]),
      layerNormCandidates(caps, y.size / d, d, !!weight && !!table),
    );
    // Rows that no bindings hold together with what lies between them are first copied to where they do.
    const copied = source && !gather ? target.scratch(y.shape, x.dtype) : undefined;
    const copies = copied ? lowerRows(source!, x, copied, caps) : [];
    const parts: readonly Part[] = gather ?? windows(rowBytes).map((w) => ({ w, x: rowView(copied ?? x, w, d) }));
    return copies.concat(
      parts.map(({ w, ...part }) => {
        const unused = part.source ?? part.x;
        const common = {
          types: { X: x.dtype, Y: y.dtype },
          bindings: {
            x: part.x,
            weight: weight ? { tensor: weight, packing: "vector" as const } : unused,
            bias: bias ? { tensor: bias, packing: "vector" as const } : unused,
            table: table ?? unused,
            row_of: rowOf ? rowView(rowOf, w, 1) : unused,
            source: part.source ?? unused,
            y: rowView(y, w, d),
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
        const ROWS = variant.name === "held" ? 8 : 4;
        // Long spans spare what a workgroup begins with, as long as every thread of the adapter has several.
        const span = ROWS * Math.min(64 / ROWS, Math.max(1, Math.floor(w.count / 32 / ROWS)));
        return dispatch({
          kernel: layerNormSubgroup,
          ...common,
          params: { ...params, span },
          consts: { ...consts, ROWS, HELD: variant.name === "held" ? d / 4 : 0 },
          overrides: { WG: variant.wg },
          grid: foldGrid(Math.ceil(w.count / span), caps),
        });
      }),
    );
  },
};

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

/** A window of the result, and what it reads of x: a run of rows, or the rows of it that `source` names. */
interface Part {
  readonly w: RowWindow;
  readonly x: Tensor | View;
  readonly source?: View;
}

/** x is bound whole where it fits; else the run of its rows that each window asks for, where that is known when compiling and fits. */
function gathered(x: Tensor, source: Tensor, windows: (rowBytes: number) => RowWindow[], { caps, constant }: Target): Part[] | undefined {
  if (x.bytes <= caps.maxBindingBytes) return windows(4).map((w) => ({ w, x, source: rowView(source, w, 1) }));
  if (source.role !== "constant") return undefined;
  const rowBytes = x.dim(-1) * bytesOf[x.dtype];
  const step = caps.offsetAlignment / gcd(caps.offsetAlignment, rowBytes);
  // Rows of x that are not asked for may lie between those of a window: half of the limit leaves them room.
  const runs = windows(2 * rowBytes).map((w) => {
    const rows = (source.data as Uint32Array).subarray(w.start, w.start + w.count);
    const first = Math.floor(rows.reduce((a, b) => Math.min(a, b)) / step) * step;
    return { w, rows, first, bytes: (rows.reduce((a, b) => Math.max(a, b)) - first + 1) * rowBytes };
  });
  if (runs.some(({ bytes }) => bytes > caps.maxBindingBytes)) return undefined;
  return runs.map(({ w, rows, first, bytes }) => ({
    w,
    x: { tensor: x, offset: first * rowBytes, bytes },
    source: {
      tensor: constant(
        "source",
        rows.map((r) => r - first),
        [rows.length],
      ),
    },
  }));
}
