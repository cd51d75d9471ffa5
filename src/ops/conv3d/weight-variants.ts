/** The kernels of conv3d_gradient_w: which an adapter can run for a shape, and which is taken first. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import { padTo } from "../../graph/packing.ts";
import { preferring } from "../../plan/choice.ts";
import { matrixTiles, type MatrixVariant } from "../tiles/matrix-tile.ts";
import type { RegisterTile } from "../tiles/register-tile.ts";

/** `bm` channels of dy × `bn` columns: what a workgroup sums. A column is a channel of x under a tap. */
export type WeightGradientVariant =
  | { name: "octet_row"; bm: number; bn: number; wg: number }
  | { name: "octet"; bm: number; bn: number; wg: number }
  | { name: "quad"; bm: number; bn: number; wg: number }
  | RegisterTile
  | MatrixVariant;

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
  const lanes = caps.kind === "software" ? (caps.subgroups?.min ?? 0) : 0;
  const wg = caps.subgroups?.max ?? 0;
  const octetRow: WeightGradientVariant[] = lanes >= 8 && row ? [{ name: "octet_row", bm: 16, bn: 12 * wg, wg }] : [];
  const octet: WeightGradientVariant[] = lanes >= 8 ? [{ name: "octet", bm: 32, bn: 4 * wg, wg }] : [];
  const quad: WeightGradientVariant[] = lanes >= 4 ? [{ name: "quad", bm: 8 * wg, bn: 16, wg }] : [];
  const tile = (bm: number, bn: number, tm: number, tn: number): RegisterTile => ({ name: "tiled", bm, bn, bk: 16, tm, tn });
  const large = tile(128, 128, 8, 2);
  const small = [64, 32, 16].map((bm) => tile(bm, 64, 4, 1));
  const tiles = [...(p >= 128 && q >= 128 ? [large] : []), ...small].filter(
    ({ bm, bn, bk, tm, tn }) => (bm / tm) * (bn / (4 * tn)) <= caps.maxWorkgroupInvocations && 4 * bk * (bm + bn) <= caps.maxWorkgroupBytes,
  );
  const wanted = p >= 128 && q >= 128 ? 128 : p > 32 ? 64 : p > 16 ? 32 : 16;
  return [
    ...octetRow,
    ...octet,
    ...quad,
    // Positions past the end are zeros, so any number of them fills the staged 32; both must have whole words of 8 halves. Frames in slots
    // of their own make the work of several such products.
    ...(half && padTo(p, 4) % 8 === 0 && padTo(cin, 4) % 8 === 0 ? matrixTiles(caps, p >= 128 ? 4 * p : p, q, 32) : []),
    ...preferring(
      tiles.find(({ bm }) => bm === wanted),
      tiles,
    ),
  ];
}
