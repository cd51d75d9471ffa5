/** The kernels of matmul_tn: which an adapter can run for a shape, and which is taken first. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import { matrixTiles, type MatrixVariant } from "../tiles/matrix-tile.ts";
import { type LaneTile, laneTiles, outerProductTiles } from "../tiles/outer-product.ts";
import type { RegisterTile } from "../tiles/register-tile.ts";

/** `bm` columns of a × `bn` columns of b: what a workgroup sums. */
export type MatmulTnVariant = LaneTile<"octet"> | LaneTile<"quad"> | RegisterTile | MatrixVariant;

/** What a choice is made by: columns of a, the fewer, and of b; are both f16? */
export interface MatmulTnShape {
  p: number;
  q: number;
  half: boolean;
}

/** Every kernel that an adapter can run for a shape, the one that is taken without a measurement first; as for matmul. */
export function matmulTnCandidates(caps: Capabilities, { p, q, half }: MatmulTnShape): MatmulTnVariant[] {
  return [
    ...laneTiles(caps),
    // Tokens past the end are zeros, so any number of them fills what is staged.
    ...(half ? matrixTiles(caps, { m: p, n: q, k: 64, turned: true }) : []),
    ...outerProductTiles(caps, p, q),
  ];
}
