/** matmul: y = x · wᵀ (+ bias), with what follows it fused into its epilogue. */
import { matmulOctet, matmulQuad, matmulSubgroupMatrix, matmulTiled } from "#kernels";
import { CogwheelError } from "../errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { choiceKey, preferring } from "../graph/choice.ts";
import { dispatch, foldGrid, rowView, rowWindows, type Dispatch } from "../graph/dispatch.ts";
import { bytesOf, type DType, type Op, type Tensor } from "../graph/graph.ts";
import { PANEL, padTo } from "../graph/packing.ts";
import { matrixTiles, type MatrixVariant } from "./matrix-tile.ts";
import { padColumns } from "./pad_columns.ts";
import { tilesThatFit, type RegisterTile } from "./register-tile.ts";

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
  activation: "gelu" | "silu" | null;
  /** Is the residual added before the activation? */
  early: boolean;
}

export interface MatmulOptions {
  /** [N] */
  bias?: Tensor;
  /** Applied to x·wᵀ + bias; `gelu` is the tanh approximation. */
  activation?: "gelu" | "silu";
  /** [..., N] f32, added last. */
  residual?: Tensor;
  /** [..., N] f32, added before the activation; not with a residual. */
  addend?: Tensor;
  /** [G, N] f32 with `rows` [M] u32: the product is scaled by row `rows[m]` before the residual is added. */
  gate?: { table: Tensor; rows: Tensor };
  /** Storage type of the result. Default f32. */
  dtype?: DType;
}

/** x [..., K] and w [N, K] (as a Linear stores it) → [..., N], padded with zeros to a multiple of 4 (so are residual, addend and gate). */
export function matmul(x: Tensor, w: Tensor, options: MatmulOptions = {}): Tensor {
  const { bias, addend, gate } = options;
  if (addend && options.residual) throw new CogwheelError("matmul", "an addend and a residual cannot be given together, got both; add one of them before");
  const residual = addend ?? options.residual;
  return x.graph.record(
    matmulOp,
    { x: x.dim(-1) === w.dim(1) ? padColumns(x) : x, w, bias, residual, gate: gate?.table, gateRow: gate?.rows },
    { dtype: options.dtype ?? "f32", activation: options.activation ?? null, early: addend !== undefined },
  ).y;
}

export const matmulOp: Op<MatmulInputs, MatmulAttrs, "y"> = {
  name: "matmul",
  infer({ x, w, bias, residual, gate, gateRow }, { dtype }) {
    const [n, k] = [padTo(w.dim(0), 4), w.dim(1)];
    const shape = [...x.shape.slice(0, -1), n];
    if (x.dim(-1) !== padTo(k, 4)) throw new CogwheelError("matmul", `inner dimensions must match, got x ${show(x)} and w ${show(w)}; w is stored [out, in]`);
    if (bias && bias.size !== w.dim(0)) throw new CogwheelError("matmul", `the bias must have ${w.dim(0)} values, got ${show(bias)}; check the weight's name`);
    if (residual && (residual.size !== (x.size / x.dim(-1)) * n || residual.dtype !== "f32")) throw new CogwheelError("matmul", `the residual must be f32 ${JSON.stringify(shape)}, got ${show(residual)}`);
    if (gate && (gate.dim(-1) !== n || gate.dtype !== "f32" || gateRow?.size !== x.size / x.dim(-1) || gateRow.dtype !== "u32")) {
      throw new CogwheelError("matmul", `a gate must be f32 [G, ${n}] with one u32 row a token, got ${show(gate)} and ${gateRow ? show(gateRow) : "no rows"}`);
    }
    return { y: { shape, dtype } };
  },
  cost({ inputs: { x, w, residual }, outputs: { y } }) {
    return { flops: 2 * y.size * x.dim(-1), bytes: x.bytes + w.bytes + y.bytes + (residual?.bytes ?? 0) };
  },
  lower({ inputs: { x, w, bias, residual, gate, gateRow }, attrs, outputs: { y } }, target) {
    const { caps } = target;
    const k = x.dim(-1);
    const nTotal = y.dim(-1);
    const m = y.size / nTotal;
    const candidates = matmulCandidates(caps, { m, n: nTotal, k, half: x.dtype === "f16" && w.dtype === "f16" });
    const variant = target.choose(choiceKey("matmul", { m }, { n: nTotal, k }, [x.dtype, w.dtype, y.dtype]), candidates);
    const panels = Math.ceil(nTotal / PANEL);
    const rowBytes = [k * bytesOf[x.dtype], nTotal * bytesOf[y.dtype], ...(residual ? [nTotal * 4] : []), ...(gateRow ? [4] : [])];
    const packing = variant.name === "subgroup_matrix" ? ("row" as const) : ("panel" as const);
    const out: Dispatch[] = [];
    for (const columns of rowWindows(caps, panels, [PANEL * k * bytesOf[w.dtype]])) {
      const n = Math.min(columns.count * PANEL, nTotal - columns.start * PANEL);
      for (const rows of rowWindows(caps, m, rowBytes, 2 * n * k)) {
        const tiles = Math.ceil(n / variant.bn) * Math.ceil(rows.count / variant.bm);
        const panelBytes = PANEL * k * bytesOf[w.dtype];
        const weights = { tensor: w, packing, offset: columns.start * panelBytes, bytes: columns.count * panelBytes };
        const common = {
          bindings: {
            x: rowView(x, rows, k),
            w: weights,
            bias: bias ? { tensor: bias, packing: "vector" as const } : weights,
            residual: residual ? rowView(residual, rows, nTotal) : rowView(x, rows, k),
            gate: gate ?? rowView(x, rows, k),
            gate_row: gateRow ? rowView(gateRow, rows, 1) : rowView(x, rows, k),
            y: rowView(y, rows, nTotal),
          },
          params: { m: rows.count, n, k, n_base: columns.start * PANEL, n_total: nTotal, tiles },
          grid: foldGrid(tiles, caps),
        };
        const switches = { BIAS: +!!bias, GELU: +(attrs.activation === "gelu"), SILU: +(attrs.activation === "silu"), RESIDUAL: +(!!residual && !attrs.early), ADDEND: +(!!residual && attrs.early), GATE: +!!gate };
        const types = { X: x.dtype, W: w.dtype, Y: y.dtype };
        if (variant.name === "octet") out.push(dispatch({ kernel: matmulOctet, ...common, types, consts: { ...switches, ROWS: variant.rows }, overrides: { WG: variant.wg } }));
        else if (variant.name === "quad") out.push(dispatch({ kernel: matmulQuad, ...common, types, consts: { ...switches, ROWS: variant.rows }, overrides: { WG: variant.wg } }));
        else if (variant.name === "tiled") out.push(dispatch({ kernel: matmulTiled, ...common, types, consts: { ...switches, BM: variant.bm, BN: variant.bn, BK: variant.bk, TM: variant.tm, TN: variant.tn } }));
        else out.push(dispatch({ kernel: matmulSubgroupMatrix, ...common, types: { Y: y.dtype }, consts: { ...switches, ...variant.consts } }));
      }
    }
    return out;
  },
};

/** `bm` × `bn`: the part of y that a workgroup computes. */
export type MatmulVariant =
  | { name: "octet"; bm: number; bn: number; rows: number; wg: number }
  | { name: "quad"; bm: number; bn: number; rows: number; wg: number }
  | RegisterTile
  | MatrixVariant;

/** What a choice is made by: rows and columns of y, inputs; are x and w f16? */
export interface MatmulShape { m: number; n: number; k: number; half: boolean }

/**
 * Every kernel that an adapter can run for a shape, the one that is taken without a measurement first. CPU adapters prefer those
 * without workgroup memory, by their number of lanes (of 8, lavapipe runs `octet` 1.7 times as fast as `quad`), with a tile of fewer rows
 * where there are few. GPUs take subgroup matrices for f16 where they have them, and a tile that the matrix fills.
 */
export function matmulCandidates(caps: Capabilities, { m, n, k, half }: MatmulShape): MatmulVariant[] {
  const lanes = caps.kind === "software" ? (caps.subgroups?.min ?? 0) : 0;
  const wg = caps.subgroups?.max ?? 0;
  const octet = (rows: number): MatmulVariant => ({ name: "octet", bm: rows, bn: 4 * wg, rows, wg });
  const quad = (rows: number): MatmulVariant => ({ name: "quad", bm: rows * wg, bn: PANEL, rows, wg });
  return [
    ...(lanes >= 8 ? preferring(octet(m <= 8 ? 8 : m <= 16 ? 16 : 32), [32, 16, 8].map(octet)) : []),
    ...(lanes >= 4 ? preferring(quad(m <= 2 * wg ? 2 : 8), [8, 2].map(quad)) : []),
    ...(half ? matrixTiles(caps, m, n, k) : []),
    ...registerTiles(caps, m, n, k),
  ];
}

function registerTiles(caps: Capabilities, m: number, n: number, k: number): RegisterTile[] {
  const bk = k % 16 === 0 ? 16 : k % 8 === 0 ? 8 : 4;
  const bn = n >= 64 ? 64 : n >= 32 ? 32 : 16;
  const [large] = n >= 128 && bk === 16 ? tilesThatFit(caps, [{ bm: 128, bn: 128, bk, tm: 8, tn: 2 }]) : [];
  const small = tilesThatFit(caps, [64, 32, 16].map((bm) => ({ bm, bn, bk, tm: bm === 16 ? 2 : 4, tn: 1 })));
  const all = large ? [large, ...small] : small;
  // Large tiles while there are enough of them to fill a GPU.
  if (large && m >= 128 && m * n >= 96 * 128 * 128) return all;
  const bm = m >= 64 ? 64 : m > 16 ? 32 : 16;
  return preferring(small.find((tile) => tile.bm === bm) ?? small[0]!, all);
}

const show = (t: Tensor): string => `[${t.shape.join(", ")}] ${t.dtype}`;
