/** The tile of a matmul by subgroup matrices, for the kernels that have one inside: matmul and conv3d. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import { preferring } from "../../plan/choice.ts";

/** Constants of the kernels: matrix shape, lanes of a subgroup, subgroups across and down, matrices of each, inputs staged at once. */
export interface MatrixTile {
  readonly MM: number;
  readonly NN: number;
  readonly KK: number;
  readonly SUBGROUP: number;
  readonly SGX: number;
  readonly SGY: number;
  readonly SM: number;
  readonly SN: number;
  readonly BK: number;
}

export interface MatrixVariant {
  readonly name: "subgroup_matrix";
  readonly bm: number;
  readonly bn: number;
  readonly consts: MatrixTile;
}

/**
 * For y [M, N] with K inputs a run of memory (all of a matmul's, a tap's channels): four subgroups with up to 4 × 4 matrices each;
 * first the largest that fills a GPU. None where no configuration divides K, or the memory is too small: `rowBytes` are what the kernel
 * keeps in workgroup memory for each row of its tile besides the operands.
 * @param turned whether the kernel turns blocks of 8 inputs on their way into workgroup memory: with subgroups of 64 lanes each lane has
 *   such a block only where 64 inputs are staged at once
 */
export function matrixTiles(
  caps: Capabilities,
  { m, n, k, rowBytes = 0, turned = false }: { m: number; n: number; k: number; rowBytes?: number; turned?: boolean },
): MatrixVariant[] {
  const SUBGROUP = caps.subgroups?.max ?? 0;
  const sizes = turned && SUBGROUP >= 64 ? [64, 32, 16, 8] : [32, 16, 8];
  const all: MatrixVariant[] = [];
  let first: MatrixVariant | undefined;
  for (const shape of caps.subgroupMatrices) {
    if (4 * SUBGROUP > caps.maxWorkgroupInvocations) continue;
    for (const [SM, SN] of [
      [4, 4],
      [2, 4],
      [2, 2],
      [1, 1],
    ] as const) {
      const [bm, bn] = [2 * SM * shape.m, 2 * SN * shape.n];
      const fits = (size: number): boolean =>
        16 * Math.max((bm + bn) * (size / 8 + 1 - ((size / 8) % 2)), 4 * shape.m * ((SN * shape.n) / 4 + 1)) + bm * rowBytes <=
        caps.maxWorkgroupBytes;
      const BK = sizes.find((size) => size % shape.k === 0 && k % size === 0 && fits(size));
      const enough = Math.ceil(m / bm) * Math.ceil(n / bn) >= 64 || (SM === 1 && SN === 1);
      if (BK === undefined) continue;
      const variant: MatrixVariant = {
        name: "subgroup_matrix",
        bm,
        bn,
        consts: { MM: shape.m, NN: shape.n, KK: shape.k, SUBGROUP, SGX: 2, SGY: 2, SM, SN, BK },
      };
      all.push(variant);
      if (enough) first ??= variant;
    }
  }
  return first ? preferring(first, all) : all;
}
