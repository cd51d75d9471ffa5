/** matmul: y = x · wᵀ (+ bias), with what follows it fused into its epilogue. Kernels: kernels/matmul/. */
import { matmulDotI8, matmulOctet, matmulQuad, matmulSubgroupMatrix, matmulTiled, quantizePanels } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import type { SharedConst } from "../gpu/kernel.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import { assertKnown } from "../graph/known-name.ts";
import type { Dispatch, Node, Op, Target, View } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { choiceKey, preferring } from "../plan/choice.ts";
import { dispatch, foldGrid, gcd, rowView, type RowWindow, rowWindows } from "../plan/dispatch.ts";
import { type Packing, PANEL, padTo, Q8 } from "../graph/packing.ts";
import { matrixTiles, type MatrixVariant } from "./tiles/matrix-tile.ts";
import { padColumns } from "./pad_columns.ts";
import { integerTiles, type IntegerTile } from "./tiles/integer-tile.ts";
import { registerTiles, tileConsts, type RegisterTile } from "./tiles/register-tile.ts";
import { assertRows } from "../graph/row-index.ts";

interface MatmulInputs {
  x: Tensor;
  w: Tensor;
  bias: Tensor | undefined;
  residual: Tensor | undefined;
  gate: Tensor | undefined;
  gateRow: Tensor | undefined;
}
interface MatmulAttrs {
  dtype: DType;
  activation: NonNullable<MatmulOptions["activation"]> | null;
  /** Is the residual added before the activation? */
  early: boolean;
  /** Columns of a head, where y is laid out by head. */
  heads: number | null;
}

/** The activations of the epilogue; `gelu` is the tanh approximation. */
const ACTIVATIONS = ["gelu", "silu"] as const;

export interface MatmulOptions {
  /** [N] */
  bias?: Tensor;
  /** Applied to x·wᵀ + bias; `gelu` is the tanh approximation. */
  activation?: (typeof ACTIVATIONS)[number];
  /** [..., N] f32, added last. */
  residual?: Tensor;
  /** Width D of a head: the result is [N/D, M, D], head by head, as attention reads it. A multiple of 4 that divides N. */
  heads?: number;
  /** [..., N] f32, added before the activation; not with a residual. */
  addend?: Tensor;
  /** [G, N] f32 with `rows` [M] u32: the product is scaled by row `rows[m]` before the residual is added. */
  gate?: { table: Tensor; rows: Tensor };
  /** Storage type of the result. Default f32. */
  dtype?: DType;
}

/**
 * x [..., K] and w [N, K] (as a Linear stores it) → [..., N], padded with zeros to a multiple of 4 (so are residual, addend and gate); or
 * by head. A weight w is packed once, when it is loaded; an input or an activation before the product, in each run.
 */
export function matmul(x: Tensor, w: Tensor, options: MatmulOptions = {}): Tensor {
  const { bias, addend, gate } = options;
  assertKnown("matmul", "the activation", options.activation, ACTIVATIONS);
  if (addend && options.residual)
    throw new CogwheelError("matmul", "an addend and a residual cannot be given together, got both; add one of them before");
  const residual = addend ?? options.residual;
  return x.graph.record(
    matmulOp,
    { x: x.dim(-1) === w.dim(1) ? padColumns(x) : x, w, bias, residual, gate: gate?.table, gateRow: gate?.rows },
    {
      dtype: options.dtype ?? "f32",
      activation: options.activation ?? null,
      early: addend !== undefined,
      heads: options.heads ?? null,
    },
  ).y;
}

export const matmulOp: Op<MatmulInputs, MatmulAttrs, "y"> = {
  name: "matmul",
  infer({ x, w, bias, residual, gate, gateRow }, { dtype, heads }) {
    const [n, k] = [padTo(w.dim(0), 4), w.dim(1)];
    const m = x.size / x.dim(-1);
    const shape = heads === null ? [...x.shape.slice(0, -1), n] : [n / heads, m, heads];
    if (w.shape.length !== 2 || !isFloat(x) || !isFloat(w))
      throw new CogwheelError(
        "matmul",
        `x must be f32 or f16 [..., K] and w [N, K], got x ${show(x)} and w ${show(w)}; reshape or convert them`,
      );
    if (x.dim(-1) !== padTo(k, 4))
      throw new CogwheelError("matmul", `inner dimensions must match, got x ${show(x)} and w ${show(w)}; w is stored [out, in]`);
    if (bias && (bias.size !== w.dim(0) || bias.dtype !== "f32"))
      throw new CogwheelError(
        "matmul",
        `the bias must have ${w.dim(0)} values in f32, got ${show(bias)}; check the weight's name and type`,
      );
    if (residual && (residual.size !== m * n || residual.dtype !== "f32"))
      throw new CogwheelError("matmul", `the residual must be f32 ${JSON.stringify([m, n])}, got ${show(residual)}`);
    if (heads !== null && (heads % 4 || w.dim(0) % heads))
      throw new CogwheelError(
        "matmul",
        `a head's width must be a multiple of 4 that divides the ${w.dim(0)} columns, got ${heads}; lay the result out by row`,
      );
    if (gate && (gate.dim(-1) !== n || gate.dtype !== "f32" || gateRow?.size !== m || gateRow.dtype !== "u32")) {
      throw new CogwheelError(
        "matmul",
        `a gate must be f32 [G, ${n}] with one u32 row a token, got ${show(gate)} and ${gateRow ? show(gateRow) : "no rows"}`,
      );
    }
    if (gate) assertRows("matmul", "the gate", gateRow!, gate.size / n);
    return { y: { shape, dtype } };
  },
  // A residual stream is added to where it lies. An addend is read before the activation, and a result by head lies otherwise.
  mayTake: ({ attrs: { early, heads } }) => (early || heads !== null ? {} : { y: "residual" }),
  cost({ inputs: { x, w, residual }, outputs: { y } }) {
    return { flops: 2 * y.size * x.dim(-1), bytes: x.bytes + w.bytes + y.bytes + (residual?.bytes ?? 0) };
  },
  lower(node, target) {
    const {
      inputs: { x, w, bias, residual, gate, gateRow },
      attrs,
      outputs: { y },
    } = node;
    const { caps } = target;
    const k = x.dim(-1);
    const m = x.size / k;
    const nTotal = y.size / m;
    const bytes8 = caps.dotI8 && k === w.dim(1) && target.formatOf(w) === "q8_0";
    const candidates = matmulCandidates(caps, { m, n: nTotal, k, half: x.dtype === "f16" && w.dtype === "f16", bytes8 });
    const types = [x.dtype, w.dtype, y.dtype, ...(bytes8 ? ["q8_0"] : [])];
    const variant = target.choose(choiceKey("matmul", { m }, { n: nTotal, k }, types), candidates);
    const switches = switchesOf(node, target.inPlace);
    const packing = packingOf(variant);
    const panelBytes = variant.name === "dot_i8" ? q8PanelBytes(k) : PANEL * k * bytesOf[w.dtype];
    const integers = variant.name === "dot_i8" ? quantized(x, target) : undefined;
    const rowBytes = [
      k * bytesOf[x.dtype],
      ...(attrs.heads === null ? [nTotal * bytesOf[y.dtype]] : []),
      ...(residual ? [nTotal * 4] : []),
      ...(gateRow ? [4] : []),
    ];
    const out: Dispatch[] = [...(integers?.dispatches ?? [])];
    for (const part of columnWindows(caps, m, nTotal, attrs.heads, bytesOf[y.dtype], panelBytes)) {
      for (const rows of integers
        ? panelWindows(caps, m, [...rowBytes, q8PanelBytes(k) / PANEL], 2 * part.n * k)
        : rowWindows(caps, m, rowBytes, 2 * part.n * k)) {
        const tiles = Math.ceil(part.n / variant.bn) * Math.ceil(rows.count / variant.bm);
        const weights = { tensor: w, packing, offset: part.panel * panelBytes, bytes: Math.ceil(part.n / PANEL) * panelBytes };
        const common = {
          bindings: {
            x: rowView(x, rows, k),
            w: weights,
            bias: bias ? { tensor: bias, packing: "vector" as const } : weights,
            residual: residual && !target.inPlace ? rowView(residual, rows, nTotal) : rowView(x, rows, k),
            gate: gate ?? rowView(x, rows, k),
            gate_row: gateRow ? rowView(gateRow, rows, 1) : rowView(x, rows, k),
            y: part.heads ? rowView(y, part.heads, m * attrs.heads!) : rowView(y, rows, nTotal),
          },
          params: {
            m: rows.count,
            n: part.n,
            k,
            n_base: part.panel * PANEL,
            n_total: nTotal,
            tiles,
            y_first: (part.heads?.start ?? 0) * (attrs.heads ?? 0),
            y_width: attrs.heads ?? nTotal,
            y_rows: m,
            y_row: part.heads ? rows.start : 0,
          },
          grid: foldGrid(tiles, caps),
        };
        const types = { X: x.dtype, W: w.dtype, Y: y.dtype };
        if (variant.name === "octet")
          out.push(
            dispatch({ kernel: matmulOctet, ...common, types, consts: { ...switches, ROWS: variant.rows }, overrides: { WG: variant.wg } }),
          );
        else if (variant.name === "quad")
          out.push(
            dispatch({ kernel: matmulQuad, ...common, types, consts: { ...switches, ROWS: variant.rows }, overrides: { WG: variant.wg } }),
          );
        else if (variant.name === "tiled")
          out.push(
            dispatch({
              kernel: matmulTiled,
              ...common,
              types,
              consts: { ...switches, ...tileConsts(variant) },
            }),
          );
        else if (variant.name === "dot_i8") {
          const { bm: BM, bn: BN, tm: TM, tn: TN } = variant;
          const bindings = { ...common.bindings, x: integers!.view(rows) };
          out.push(dispatch({ kernel: matmulDotI8, ...common, bindings, types: { Y: y.dtype }, consts: { ...switches, BM, BN, TM, TN } }));
        } else
          out.push(
            dispatch({ kernel: matmulSubgroupMatrix, ...common, types: { Y: y.dtype }, consts: { ...switches, ...variant.consts } }),
          );
      }
    }
    return out;
  },
};

type MatmulNode = Node<MatmulInputs, MatmulAttrs, "y">;

/**
 * Every switch of the kernels' epilogue (kernels/shared/matmul.wgsl), and when it is on. A new one is a constant there, a line here and a
 * case of the sweep; one that is missing here or there does not compile.
 */
const EPILOGUE: Readonly<Record<SharedConst<typeof matmulTiled, typeof matmulOctet>, (node: MatmulNode, inPlace: boolean) => boolean>> = {
  BIAS: ({ inputs }) => inputs.bias !== undefined,
  ADDEND: ({ inputs, attrs }) => inputs.residual !== undefined && attrs.early,
  GELU: ({ attrs }) => attrs.activation === "gelu",
  SILU: ({ attrs }) => attrs.activation === "silu",
  GATE: ({ inputs }) => inputs.gate !== undefined,
  RESIDUAL: ({ inputs, attrs }, inPlace) => inputs.residual !== undefined && !attrs.early && !inPlace,
  ACCUMULATE: (_, inPlace) => inPlace,
};

const switchesOf = (node: MatmulNode, inPlace: boolean) =>
  Object.fromEntries(Object.entries(EPILOGUE).map(([name, on]) => [name, +on(node, inPlace)])) as Record<keyof typeof EPILOGUE, number>;

/** How a kernel reads w. */
const packingOf = ({ name }: MatmulVariant): Packing => (name === "dot_i8" ? "q8" : name === "subgroup_matrix" ? "row" : "panel");

/** Bytes of 16 rows of k inputs, in 8 bits a value. */
const q8PanelBytes = (k: number): number => PANEL * (k / Q8.values) * Q8.bytes;

/** Windows of rows that begin where a panel of 16 does. */
const panelWindows = (caps: Capabilities, rows: number, rowBytes: readonly number[], rowFlops = 0): RowWindow[] =>
  rowWindows(
    caps,
    Math.ceil(rows / PANEL),
    rowBytes.map((bytes) => PANEL * bytes),
    PANEL * rowFlops,
    { what: "panels of 16 rows" },
  ).map(({ start, count }) => ({ start: start * PANEL, count: Math.min(count * PANEL, rows - start * PANEL) }));

/** x in 8 bits a value: what makes it so, before the products, and the part of it that windows of rows bind. */
function quantized(x: Tensor, { caps, scratch }: Target): { dispatches: Dispatch[]; view(rows: RowWindow): View } {
  const k = x.dim(-1);
  const m = x.size / k;
  const panelBytes = q8PanelBytes(k);
  const y = scratch([Math.ceil(m / PANEL), panelBytes / 4], "u32");
  const view = ({ start, count }: RowWindow): View => ({
    tensor: y,
    offset: (start / PANEL) * panelBytes,
    bytes: Math.ceil(count / PANEL) * panelBytes,
  });
  const dispatches = panelWindows(caps, m, [k * bytesOf[x.dtype], panelBytes / PANEL]).map((rows) => {
    const [from, to] = [rowView(x, rows, k), view(rows)];
    const tiles = Math.ceil(rows.count / PANEL) * Math.ceil(k / (2 * Q8.values));
    return dispatch({
      kernel: quantizePanels,
      types: { X: x.dtype },
      params: { m: rows.count, k, tiles },
      bindings: { x: from, y: to },
      grid: foldGrid(tiles, caps),
      cost: { flops: 0, bytes: from.bytes! + to.bytes! },
    });
  });
  return { dispatches, view };
}

interface ColumnWindow {
  /** First panel of w, and columns. */
  readonly panel: number;
  readonly n: number;
  /** The heads of y that hold them and are bound, where y is laid out by head. */
  readonly heads?: RowWindow;
}

/** Columns by what can be bound of w at once and, by head, of y: whole heads then, which begin where a panel of w does. */
function columnWindows(
  caps: Capabilities,
  m: number,
  n: number,
  width: number | null,
  element: number,
  panelBytes: number,
): ColumnWindow[] {
  const within = (first: number, count: number, heads?: RowWindow): ColumnWindow[] =>
    rowWindows(caps, Math.ceil(count / PANEL), [panelBytes]).map((w) => ({
      panel: first / PANEL + w.start,
      n: Math.min(w.count * PANEL, count - w.start * PANEL),
      ...(heads ? { heads } : {}),
    }));
  if (width === null) return within(0, n);
  const headBytes = m * width * element;
  if (n * m * element <= caps.maxBindingBytes) return within(0, n, { start: 0, count: n / width });
  // A row of so many bytes a column is aligned where a panel begins that a binding may.
  const column = gcd(caps.offsetAlignment, panelBytes) / PANEL;
  return rowWindows(caps, n / width, [headBytes, width * column], 0, { what: "heads" }).flatMap((heads) =>
    within(heads.start * width, heads.count * width, heads),
  );
}

/** `bm` × `bn`: the part of y that a workgroup computes. */
export type MatmulVariant =
  | { name: "octet"; bm: number; bn: number; rows: number; wg: number }
  | { name: "quad"; bm: number; bn: number; rows: number; wg: number }
  | RegisterTile
  | MatrixVariant
  | IntegerTile;

/** What a choice is made by: rows and columns of y, inputs; are x and w f16; is w stored in 8 bits a value, which the adapter can multiply? */
export interface MatmulShape {
  m: number;
  n: number;
  k: number;
  half: boolean;
  bytes8?: boolean;
}

/**
 * Every kernel that an adapter can run for a shape, the one that is taken without a measurement first. CPU adapters prefer those
 * without workgroup memory, by their number of lanes (of 8, lavapipe runs `octet` 1.7 times as fast as `quad`), with a tile of fewer rows
 * where there are few. GPUs take subgroup matrices for f16 where they have them, and a tile that the matrix fills. Integers round x to 8
 * bits and come last: only a measurement takes them.
 */
export function matmulCandidates(caps: Capabilities, { m, n, k, half, bytes8 = false }: MatmulShape): MatmulVariant[] {
  const lanes = caps.kind === "software" ? (caps.subgroups?.min ?? 0) : 0;
  const wg = caps.subgroups?.max ?? 0;
  const octet = (rows: number): MatmulVariant => ({ name: "octet", bm: rows, bn: 4 * wg, rows, wg });
  const quad = (rows: number): MatmulVariant => ({ name: "quad", bm: rows * wg, bn: PANEL, rows, wg });
  return [
    ...(lanes >= 8 ? preferring(octet(m <= 8 ? 8 : m <= 16 ? 16 : 32), [32, 16, 8].map(octet)) : []),
    ...(lanes >= 4 ? preferring(quad(m <= 2 * wg ? 2 : 8), [8, 2].map(quad)) : []),
    ...(half ? matrixTiles(caps, m, n, k) : []),
    ...registerTiles(
      caps,
      { m, n, k },
      [64, 32, 16].map((bm) => ({ bm, bn: n >= 64 ? 64 : n >= 32 ? 32 : 16, tm: bm === 16 ? 2 : 4 })),
      m >= 64 ? 64 : m > 16 ? 32 : 16,
    ),
    ...(bytes8 ? integerTiles(caps, n) : []),
  ];
}

const show = (t: Tensor): string => `[${t.shape.join(", ")}] ${t.dtype}`;
