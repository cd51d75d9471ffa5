/**
 * The product of an adapter's factors, upᵀ · down, for some rows of a weight: what is added to them when they are unpacked. On CPU adapters
 * it is the sum of outer products that matmul_tn has kernels for, with ranks for tokens; a convolution's taps, which lie between rows, and
 * GPUs have a kernel of their own.
 *
 * It is a chunk of its own in a page, loaded where there is an adapter. So it imports kernels alone: a function that it shared with what
 * every page loads would be a chunk too, and what every page loads larger for it.
 */
import { lowRankProduct, matmulTnOctet, matmulTnQuad } from "#kernels";
import type { Capabilities } from "../gpu/capabilities.ts";
import type { Kernel } from "../gpu/kernel.ts";
import type { foldGrid } from "./dispatch.ts";
import type { ChangedRows, MadeChange, Unpacking } from "./unpacking.ts";

/** Row of the packed weight that the first row of a part's `up` stands for: kernels read four at once. */
export const upStart = ({ firstRow }: Pick<Unpacking, "firstRow">): number => firstRow - (firstRow % 4);

/** So many, in vectors of 4. */
export const vectors = (values: number): number => Math.ceil(values / 4);

/** What makes the change of some rows, where there is one; the row of it that theirs begin with; and the bytes that it takes. */
export function changeOf(part: Unpacking, { row, rows, inner, taps }: ChangedRows, caps: Capabilities, fold: typeof foldGrid): MadeChange {
  const { rank = 0, firstRow } = part;
  if (!rank || !rows) return { product: [], changed: 0, change: 0 };
  const at = firstRow + row - upStart(part);
  const changed = at % 4;
  const width = vectors(inner);
  const made = changed + rows;
  const outs4 = vectors(firstRow + part.rows - upStart(part));
  const change = 16 * made * taps * width;
  const none = { offset: 0, bytes: 0 };
  const product = lowRankDispatch({ rank, outs4, first: (at - changed) / 4, rows: made, taps, width }, caps, fold);
  return { product: [{ ...product, x: none, y: none, change }], changed, change };
}

/** Factors as they lie, and the rows that are asked for. */
interface LowRankRows {
  readonly rank: number;
  /** Vectors of 4 of a row of `up` [rank][outs], and the one that the rows begin with. */
  readonly outs4: number;
  readonly first: number;
  readonly rows: number;
  readonly taps: number;
  /** Vectors of 4 of a row of `down` [taps][rank][width]. */
  readonly width: number;
}

interface LowRankDispatch {
  readonly kernel: Kernel;
  readonly consts: Readonly<Record<string, number>>;
  readonly overrides: Readonly<Record<string, number>>;
  readonly params: Readonly<Record<string, number>>;
  readonly grid: readonly [number, number, number];
  /** What each binding is. */
  readonly bound: Readonly<Record<string, "up" | "down" | "change">>;
}

/** Into `change` [rows][taps][width]. */
function lowRankDispatch(
  { rank, outs4, first, rows, taps, width }: LowRankRows,
  caps: Capabilities,
  fold: typeof foldGrid,
): LowRankDispatch {
  const lanes = caps.kind === "software" && taps === 1 ? caps.subgroups : null;
  if (!lanes || lanes.min < 4) {
    const groups = Math.ceil(width / lowRankProduct.overrides.WG) * taps * Math.ceil(rows / 16);
    return {
      kernel: lowRankProduct as Kernel,
      consts: {},
      overrides: {},
      params: { groups, rows, first, outs4, rank, taps, width },
      grid: fold(groups, caps),
      bound: { up: "up", down: "down", change: "change" },
    };
  }
  const wg = lanes.max;
  const [kernel, bm, bn] = lanes.min >= 8 ? [matmulTnOctet, 32, 4 * wg] : [matmulTnQuad, 8 * wg, 16];
  const tiles = Math.ceil(rows / bm) * Math.ceil((4 * width) / bn);
  const params = {
    ...{ m: rank, chunk: 32 * Math.ceil(rank / 32), a4: outs4, b4: width, p: rows, q: 4 * width, p_first: first, q_first: 0 },
    ...{ tiles, groups: tiles, part4: rows * width, stride4: width },
  };
  const bound = { a: "up", b: "down", y: "change" } as const;
  return { kernel: kernel as Kernel, consts: {}, overrides: { WG: wg }, params, grid: fold(tiles, caps), bound };
}
