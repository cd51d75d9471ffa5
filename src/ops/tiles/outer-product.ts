/** Tiles of sums of outer products, for the kernels that are one inside: matmul_tn and conv3d_gradient_w. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import { preferring } from "../../plan/choice.ts";
import type { RegisterTile } from "./register-tile.ts";

/** Of CPU adapters, by lanes: `bm` columns of one operand × `bn` of the other are what a workgroup of `wg` lanes sums. */
export interface LaneTile<Name extends string> {
  readonly name: Name;
  readonly bm: number;
  readonly bn: number;
  readonly wg: number;
}

/** Those that a CPU adapter has lanes for; none on GPUs. */
export function laneTiles({ kind, subgroups }: Capabilities): (LaneTile<"octet"> | LaneTile<"quad">)[] {
  if (kind !== "software" || !subgroups) return [];
  const { min: lanes, max: wg } = subgroups;
  return [
    ...(lanes >= 8 ? [{ name: "octet", bm: 32, bn: 4 * wg, wg } as const] : []),
    ...(lanes >= 4 ? [{ name: "quad", bm: 8 * wg, bn: 16, wg } as const] : []),
  ];
}

/** For p × q sums: the tiles that an adapter's workgroups can hold, first the one that p columns fill. */
export function outerProductTiles(caps: Capabilities, p: number, q: number): RegisterTile[] {
  const tile = (bm: number, bn: number, tm: number, tn: number): RegisterTile => ({ name: "tiled", bm, bn, bk: 16, tm, tn });
  const large = p >= 128 && q >= 128;
  const small = [64, 32, 16].map((bm) => tile(bm, 64, 4, 1));
  const tiles = [...(large ? [tile(128, 128, 8, 2)] : []), ...small].filter(
    ({ bm, bn, bk, tm, tn }) => (bm / tm) * (bn / (4 * tn)) <= caps.maxWorkgroupInvocations && 4 * bk * (bm + bn) <= caps.maxWorkgroupBytes,
  );
  const wanted = large ? 128 : p > 32 ? 64 : p > 16 ? 32 : 16;
  return preferring(
    tiles.find(({ bm }) => bm === wanted),
    tiles,
  );
}
