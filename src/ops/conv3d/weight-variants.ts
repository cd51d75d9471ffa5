/** The kernels of conv3d_gradient_w: which an adapter can run for a shape, and which is taken first. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import { padTo } from "../../graph/packing.ts";
import { matrixTiles, type MatrixVariant } from "../tiles/matrix-tile.ts";
import { type LaneTile, laneTiles, outerProductTiles } from "../tiles/outer-product.ts";
import type { RegisterTile } from "../tiles/register-tile.ts";

/** `bm` channels of dy × `bn` columns: what a workgroup sums. A column is a channel of x under a tap. */
export type WeightGradientVariant = LaneTile<"octet_row"> | LaneTile<"octet"> | LaneTile<"quad"> | RegisterTile | MatrixVariant;

/**
 * What a choice is made by: channels of dy and of x, taps; are they three a row, at stride 1; are dy and x f16? The number of frames is
 * not among it, for the sums of a frame are to be the same in any clip.
 */
export interface WeightGradientShape {
  p: number;
  cin: number;
  taps: number;
  /** Three of them in a row, at stride 1? */
  row: boolean;
  half: boolean;
}

/** Every kernel that an adapter can run for a shape, the one that is taken without a measurement first; as for matmul_tn. */
export function weightGradientCandidates(caps: Capabilities, { p, cin, taps, row, half }: WeightGradientShape): WeightGradientVariant[] {
  const q = padTo(cin, 4) * taps;
  const lanes = laneTiles(caps);
  const octet = lanes.find(({ name }) => name === "octet");
  return [
    ...(octet && row ? [{ name: "octet_row", bm: 16, bn: 3 * octet.bn, wg: octet.wg } as const] : []),
    ...lanes,
    // Positions past the end are zeros, so any number of them fills what is staged. Frames in slots of their own make the work of several
    // such products.
    ...(half ? matrixTiles(caps, { m: p >= 128 ? 4 * p : p, n: q, k: 64, turned: true }) : []),
    ...outerProductTiles(caps, p, q),
  ];
}
