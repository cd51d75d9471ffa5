/** Tiles of a matmul of 8-bit integers (kernels/matmul/matmul_dot_i8.wgsl). */
import type { Capabilities } from "../../gpu/capabilities.ts";
import { Q8 } from "../../graph/packing.ts";

/** A workgroup computes `bm` × `bn` of y from 32 inputs at a time, a thread `tm` vectors of 4 rows × `tn` vectors of 4 columns of it. */
export interface IntegerTile {
  readonly name: "dot_i8";
  readonly bm: number;
  readonly bn: number;
  readonly tm: number;
  readonly tn: number;
}

const TILES: readonly Omit<IntegerTile, "name">[] = [
  { bm: 128, bn: 128, tm: 2, tn: 2 },
  { bm: 64, bn: 128, tm: 1, tn: 2 },
  { bm: 64, bn: 64, tm: 1, tn: 1 },
  { bm: 32, bn: 64, tm: 1, tn: 1 },
];

/** The tiles that an adapter's workgroups can hold, none of them wider than n columns fill. */
export function integerTiles(caps: Capabilities, n: number): IntegerTile[] {
  return TILES.filter(({ bm, bn, tm, tn }) => {
    const threads = (bm / (4 * tm)) * (bn / (4 * tn));
    const bytes = (bm + bn) * Q8.bytes;
    return (bn === 64 || n >= bn) && threads <= caps.maxWorkgroupInvocations && bytes <= caps.maxWorkgroupBytes;
  }).map((tile) => ({ name: "dot_i8", ...tile }));
}
