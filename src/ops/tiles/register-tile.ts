/** Tiles of a matmul by register tiles and workgroup memory, for the kernels that have one inside: matmul and conv3d. */
import type { Capabilities } from "../../gpu/capabilities.ts";

/** A workgroup computes `bm` × `bn` of y from `bk` inputs at a time, a thread `tm` rows × `tn` vectors of it. */
export interface RegisterTile {
  readonly name: "tiled";
  readonly bm: number;
  readonly bn: number;
  readonly bk: number;
  readonly tm: number;
  readonly tn: number;
}

/** The tiles that an adapter's workgroups can hold. */
export function tilesThatFit(caps: Capabilities, tiles: readonly Omit<RegisterTile, "name">[]): RegisterTile[] {
  return tiles
    .filter(({ bm, bn, bk, tm, tn }) => {
      const threads = (bm / tm) * (bn / (4 * tn));
      const bytes = 16 * (bm * (bk / 4 + 1) + bk * (bn / 4 + 4));
      return threads <= caps.maxWorkgroupInvocations && bytes <= caps.maxWorkgroupBytes;
    })
    .map((tile) => ({ name: "tiled", ...tile }));
}
