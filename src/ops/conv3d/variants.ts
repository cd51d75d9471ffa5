/** The kernels of conv3d: which an adapter can run for a shape, and which is taken first. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import { matrixTiles, type MatrixVariant } from "../tiles/matrix-tile.ts";
import { type RegisterTile, registerTiles } from "../tiles/register-tile.ts";

export type Conv3dVariant = { name: "octet" } | { name: "quad" } | { name: "quad_row" } | RegisterTile | MatrixVariant;

/**
 * What a choice is made by: positions and channels of y, channels of x, taps in a row and
 * the stride between its columns; are x and w f16?
 */
export interface Conv3dShape {
  m: number;
  n: number;
  cin: number;
  kw: number;
  stride: number;
  half: boolean;
}

/**
 * Every kernel that an adapter can run for a shape, the one that is taken without a measurement first. CPU adapters prefer those
 * without workgroup memory, by their number of lanes: of 8, lavapipe runs `octet` a third faster than `quad`, of 4, SwiftShader
 * `quad_row`, for three taps a row at stride 1, twice as fast. GPUs take subgroup matrices for f16 where they have them, and a
 * tile that the work fills.
 */
export function conv3dCandidates(caps: Capabilities, shape: Conv3dShape): Conv3dVariant[] {
  const lanes = caps.kind === "software" ? (caps.subgroups?.min ?? 0) : 0;
  const { m, n, cin, kw, stride, half } = shape;
  const bn = n > 32 ? 64 : n > 16 ? 32 : 16;
  return [
    ...(lanes >= 8 ? [{ name: "octet" } as const] : []),
    ...(lanes >= 4 && lanes < 8 && kw === 3 && stride === 1 ? [{ name: "quad_row" } as const] : []),
    ...(lanes >= 4 ? [{ name: "quad" } as const] : []),
    ...(half ? matrixTiles(caps, { m, n, k: cin, rowBytes: 16 }) : []),
    ...registerTiles(
      caps,
      { m, n, k: cin },
      [128, 64, 32].map((bm) => ({ bm, bn, tm: bm === 128 && bn > 16 ? 8 : 4 })),
      m * n >= 128 * 64 * 128 ? 128 : m > 32 ? 64 : 32,
    ),
  ];
}
