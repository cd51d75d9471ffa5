/** The kernels of conv3d_gradient_w: which an adapter can run for a shape, and which is taken first. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import { preferring } from "../../plan/choice.ts";
import type { RegisterTile } from "../tiles/register-tile.ts";

/** `bm` channels of dy × `bn` columns: what a workgroup sums. A column is a channel of x under a tap. */
export type WeightGradientVariant = RegisterTile;

/** What a choice is made by: channels of dy, columns. Positions are not among it: the sums of a frame are the same in any clip. */
export interface WeightGradientShape {
  p: number;
  q: number;
}

/** Every kernel that an adapter can run for a shape, the one that is taken without a measurement first; as for matmul_tn. */
export function weightGradientCandidates(caps: Capabilities, { p, q }: WeightGradientShape): WeightGradientVariant[] {
  const tile = (bm: number, bn: number, tm: number, tn: number): RegisterTile => ({ name: "tiled", bm, bn, bk: 16, tm, tn });
  const large = tile(128, 128, 8, 2);
  const small = [64, 32, 16].map((bm) => tile(bm, 64, 4, 1));
  const tiles = [...(p >= 128 && q >= 128 ? [large] : []), ...small].filter(
    ({ bm, bn, bk, tm, tn }) => (bm / tm) * (bn / (4 * tn)) <= caps.maxWorkgroupInvocations && 4 * bk * (bm + bn) <= caps.maxWorkgroupBytes,
  );
  const wanted = p >= 128 && q >= 128 ? 128 : p > 32 ? 64 : p > 16 ? 32 : 16;
  return preferring(
    tiles.find(({ bm }) => bm === wanted),
    tiles,
  );
}
