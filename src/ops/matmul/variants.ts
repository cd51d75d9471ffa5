/** The kernels of matmul and matmul_nn: which an adapter can run for a shape, and which is taken first. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import { PANEL, type Packing } from "../../graph/packing.ts";
import { preferring } from "../../plan/choice.ts";
import { integerTiles, type IntegerTile } from "../tiles/integer-tile.ts";
import { matrixTiles, type MatrixVariant } from "../tiles/matrix-tile.ts";
import { registerTiles, type RegisterTile } from "../tiles/register-tile.ts";

/** `bm` × `bn`: the part of y that a workgroup computes. */
export type MatmulVariant =
  | { name: "octet"; bm: number; bn: number; rows: number; wg: number }
  | { name: "quad"; bm: number; bn: number; rows: number; wg: number }
  | RegisterTile
  | MatrixVariant
  | IntegerTile;

/** What a choice is made by. */
export interface MatmulShape {
  /** Rows and columns of y, inputs. */
  m: number;
  n: number;
  k: number;
  /** Are x and w f16? */
  half: boolean;
  /** Is w stored in 8 bits a value, which the adapter can multiply? */
  bytes8?: boolean;
  /** Is it matmul_nn, for which w lies by input? */
  turned?: boolean;
}

/**
 * Every kernel that an adapter can run for a shape, the one that is taken without a measurement first. CPU adapters prefer those
 * without workgroup memory, by their number of lanes (of 8, lavapipe runs `octet` 1.7 times as fast as `quad`), with a tile of fewer rows
 * where there are few. GPUs take subgroup matrices for f16 where they have them, and a tile that the matrix fills. Integers round x to 8
 * bits and come last: only a measurement takes them.
 */
export function matmulCandidates(caps: Capabilities, { m, n, k, half, bytes8 = false, turned = false }: MatmulShape): MatmulVariant[] {
  const lanes = caps.kind === "software" ? (caps.subgroups?.min ?? 0) : 0;
  const wg = caps.subgroups?.max ?? 0;
  const octet = (rows: number): MatmulVariant => ({ name: "octet", bm: rows, bn: 4 * wg, rows, wg });
  const quad = (rows: number): MatmulVariant => ({ name: "quad", bm: rows * wg, bn: PANEL, rows, wg });
  return [
    ...(lanes >= 8 ? preferring(octet(m <= 8 ? 8 : m <= 16 ? 16 : 32), [32, 16, 8].map(octet)) : []),
    ...(lanes >= 4 ? preferring(quad(m <= 2 * wg ? 2 : 8), [8, 2].map(quad)) : []),
    ...(half ? matrixTiles(caps, { m, n, k, turned }) : []),
    ...registerTiles(
      caps,
      { m, n, k },
      [64, 32, 16].map((bm) => ({ bm, bn: n >= 64 ? 64 : n >= 32 ? 32 : 16, tm: bm === 16 ? 2 : 4 })),
      m >= 64 ? 64 : m > 16 ? 32 : 16,
    ),
    ...(bytes8 ? integerTiles(caps, n) : []),
  ];
}

/** The layout in which a kernel reads w. */
export const packingOf = ({ name }: MatmulVariant): Packing => (name === "dot_i8" ? "q8" : name === "subgroup_matrix" ? "row" : "panel");
