/** Tiles of a matmul by register tiles and workgroup memory, for the kernels that have one inside: matmul and conv3d. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import { preferring } from "../../plan/choice.ts";

/** A workgroup computes `bm` × `bn` of y from `bk` inputs at a time, a thread `tm` rows × `tn` vectors of it. */
export interface RegisterTile {
  readonly name: "tiled";
  readonly bm: number;
  readonly bn: number;
  readonly bk: number;
  readonly tm: number;
  readonly tn: number;
}

/** Constants of the kernels (kernels/shared/register_tile.wgsl). */
export const tileConsts = ({ bm, bn, bk, tm, tn }: RegisterTile) => ({ BM: bm, BN: bn, BK: bk, TM: tm, TN: tn });

/**
 * For y [M, N] with K inputs a run of memory (all of a matmul's, a tap's channels): first the large tile, where there is work enough for it
 * to fill a GPU, else the one of `rows` rows.
 * @param small the other tiles, the highest first; all of one vector of columns a thread
 */
export function registerTiles(
  caps: Capabilities,
  { m, n, k }: { m: number; n: number; k: number },
  small: readonly { readonly bm: number; readonly bn: number; readonly tm: number }[],
  rows: number,
): RegisterTile[] {
  const bk = k % 16 === 0 ? 16 : k % 8 === 0 ? 8 : 4;
  const [large] = n >= 128 && bk === 16 ? tilesThatFit(caps, [{ bm: 128, bn: 128, bk, tm: 8, tn: 2 }]) : [];
  const others = tilesThatFit(
    caps,
    small.map((tile) => ({ ...tile, bk, tn: 1 })),
  );
  const all = large ? [large, ...others] : others;
  if (large && m >= 128 && m * n >= 96 * 128 * 128) return all;
  return preferring(others.find(({ bm }) => bm === rows) ?? others[0], all);
}

/** The tiles that an adapter's workgroups can hold. */
function tilesThatFit(caps: Capabilities, tiles: readonly Omit<RegisterTile, "name">[]): RegisterTile[] {
  return tiles
    .filter(({ bm, bn, bk, tm, tn }) => {
      const threads = (bm / tm) * (bn / (4 * tn));
      const bytes = 16 * (bm * (bk / 4 + 1) + bk * (bn / 4 + 4));
      return threads <= caps.maxWorkgroupInvocations && bytes <= caps.maxWorkgroupBytes;
    })
    .map((tile) => ({ name: "tiled", ...tile }));
}
