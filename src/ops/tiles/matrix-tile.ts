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
 * first the largest that fills a GPU. None where no configuration divides K, or the memory is too small: `rowBytes` are
 * what the kernel keeps in workgroup memory for each row of its tile besides the operands.
 */
export function matrixTiles(caps: Capabilities, m: number, n: number, k: number, rowBytes = 0): MatrixVariant[] {
  const SUBGROUP = caps.subgroups?.max ?? 0;
  const all: MatrixVariant[] = [];
  let first: MatrixVariant | undefined;
  for (const shape of caps.subgroupMatrices) {
    const BK = [32, 16, 8].find((size) => size % shape.k === 0 && k % size === 0);
    if (BK === undefined || 4 * SUBGROUP > caps.maxWorkgroupInvocations) continue;
    for (const [SM, SN] of [
      [4, 4],
      [2, 4],
      [2, 2],
      [1, 1],
    ] as const) {
      const [bm, bn] = [2 * SM * shape.m, 2 * SN * shape.n];
      const bytes = 16 * Math.max((bm + bn) * (BK / 8 + 1 - ((BK / 8) % 2)), 4 * shape.m * ((SN * shape.n) / 4 + 1)) + bm * rowBytes;
      const enough = Math.ceil(m / bm) * Math.ceil(n / bn) >= 64 || (SM === 1 && SN === 1);
      if (bytes > caps.maxWorkgroupBytes) continue;
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
