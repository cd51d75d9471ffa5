/**
 * The product of an adapter's factors, upᵀ · down, for some rows of a weight: what is added to them when they are unpacked. On CPU adapters
 * it is the sum of outer products that matmul_tn has kernels for, with ranks for tokens; a convolution's taps, which lie between rows, and
 * GPUs have a kernel of their own.
 */
import { lowRankProduct, matmulTnOctet, matmulTnQuad } from "#kernels";
import type { Capabilities } from "../gpu/capabilities.ts";
import type { Kernel } from "../gpu/kernel.ts";
import { padTo } from "../graph/packing.ts";
import { foldGrid } from "./dispatch.ts";

/** Factors as they lie, and the rows that are asked for. */
export interface LowRankRows {
  readonly rank: number;
  /** Vectors of 4 of a row of `up` [rank][outs], and the one that the rows begin with. */
  readonly outs4: number;
  readonly first: number;
  readonly rows: number;
  readonly taps: number;
  /** Vectors of 4 of a row of `down` [taps][rank][width]. */
  readonly width: number;
}

export interface LowRankDispatch {
  readonly kernel: Kernel;
  readonly consts: Readonly<Record<string, number>>;
  readonly overrides: Readonly<Record<string, number>>;
  readonly params: Readonly<Record<string, number>>;
  readonly grid: readonly [number, number, number];
  /** What each binding is. */
  readonly bound: Readonly<Record<string, "up" | "down" | "change">>;
}

/** Into `change` [rows][taps][width]. */
export function lowRankDispatch({ rank, outs4, first, rows, taps, width }: LowRankRows, caps: Capabilities): LowRankDispatch {
  const lanes = caps.kind === "software" && taps === 1 ? caps.subgroups : null;
  if (!lanes || lanes.min < 4) {
    const groups = Math.ceil(width / lowRankProduct.overrides.WG) * taps * Math.ceil(rows / 16);
    return {
      kernel: lowRankProduct as Kernel,
      consts: {},
      overrides: {},
      params: { groups, rows, first, outs4, rank, taps, width },
      grid: foldGrid(groups, caps),
      bound: { up: "up", down: "down", change: "change" },
    };
  }
  const wg = lanes.max;
  const [kernel, bm, bn] = lanes.min >= 8 ? [matmulTnOctet, 32, 4 * wg] : [matmulTnQuad, 8 * wg, 16];
  const tiles = Math.ceil(rows / bm) * Math.ceil((4 * width) / bn);
  const params = {
    ...{ m: rank, chunk: padTo(rank, 32), a4: outs4, b4: width, p: rows, q: 4 * width, p_first: first, q_first: 0 },
    ...{ tiles, groups: tiles, part4: rows * width, stride4: width },
  };
  const bound = { a: "up", b: "down", y: "change" } as const;
  return { kernel: kernel as Kernel, consts: {}, overrides: { WG: wg }, params, grid: foldGrid(tiles, caps), bound };
}
