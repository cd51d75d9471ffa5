/** matmul_tn: every tile, splits of the tokens, columns that only pad, both storage types, windows of tokens and of rows. */
import { matmulTnOctet, matmulTnQuad, matmulTnSubgroupMatrix, matmulTnTiled, sumParts } from "#kernels";
import type { Capabilities } from "../../../gpu/capabilities.ts";
import { padTo } from "../../../graph/packing.ts";
import { matmulTn } from "../../../ops/matmul_tn.ts";
import { padColumns } from "../../../ops/pad_columns.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Precision, Values } from "../draw.ts";
import { cpuKernel, eightLanes, fewerLanes, gpuKernel, matrixKernel, tiledKernel } from "../listed-kernels.ts";

interface Sizes {
  /** Tokens, columns of a and of b. */
  readonly m: number;
  readonly p: number;
  readonly q: number;
}

/** aᵀ · b of a [m, p] and b [m, q], in float64. */
export function matmulTnReference({ m, p, q }: Sizes, { a, b }: Values): Float64Array {
  const y = new Float64Array(p * q);
  for (let t = 0; t < m; t++)
    for (let i = 0; i < p; i++) {
      const v = a![t * p + i]!;
      for (let j = 0; j < q; j++) y[i * q + j]! += v * b![t * q + j]!;
    }
  return y;
}

/** Both in f16. */
const takesMatrices = (c: OpCase, _: Capabilities, precision: Precision): boolean => precision === "f16" && c.half!.length === 2;

/** Is what the kernel writes not yet y? */
const inParts = new WeakSet<OpCase>();

function one(size: Size, sizes: Sizes, half = "ab", limits?: OpCase["limits"]): OpCase {
  const { m, p, q } = sizes;
  const made: OpCase = {
    size,
    name: `${p}×${q} of ${m}${half ? ` (${half})` : ""}${limits ? " in windows" : ""}`,
    half: [...half],
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: matmulTn(padColumns(draw.input("a", [m, p])), padColumns(draw.input("b", [m, q])), [p, q]) }),
    reference: (values) => ({ y: matmulTnReference(sizes, values) }),
  };
  if (q % 4) inParts.add(made);
  return made;
}

export const matmulTnCases: OpCases = {
  op: "matmul_tn",
  kernels: [
    cpuKernel(matmulTnOctet, { needs: eightLanes }),
    cpuKernel(matmulTnQuad, { needs: fewerLanes }),
    matrixKernel(matmulTnSubgroupMatrix, { takes: takesMatrices }),
    tiledKernel(matmulTnTiled),
    gpuKernel(sumParts, { takes: (c) => inParts.has(c) }),
    { kernel: sumParts, when: { kind: "software" }, takes: (c) => inParts.has(c) },
  ],
  tolerance: { f32: 1e-5, f16: 1e-5 },
  cases: [
    one("tiny", { m: 1, p: 1, q: 1 }),
    one("tiny", { m: 1, p: 4, q: 4 }),
    one("odd", { m: 5, p: 7, q: 29 }),
    ...["ab", "a", "b"].map((half) => one("odd", { m: 67, p: 68, q: 48 }, half)),
    one("odd", { m: 67, p: 72, q: 136 }),
    one("odd", { m: 299, p: 200, q: 24 }),
    one("odd", { m: 299, p: 15, q: 40 }),
    // Each height of a tile, both ways round; splits.
    ...[4, 20, 52, 132].flatMap((p) => [one("odd", { m: 133, p, q: 148 }), one("odd", { m: 299, p: 148, q: p })]),
    one("odd", { m: 771, p: 13, q: 150 }),
    one("odd", { m: 771, p: 150, q: 13 }, "b"),
    one("odd", { m: padTo(600, 4) + 1, p: 131, q: 130 }),
    one("odd", { m: 515, p: 136, q: 72 }, "ab", { maxBindingBytes: 48 * 1024, maxGrid: 17 }),
    one("odd", { m: 515, p: 600, q: 35 }, "ab", { maxBindingBytes: 76 * 1024, maxGrid: 31 }),
    one("model", { m: 67, p: 1920, q: 1920 }),
    one("model", { m: 67, p: 7680, q: 1920 }),
    one("model", { m: 738, p: 64, q: 1920 }, "b"),
    one("model", { m: 738, p: 1920, q: 64 }, "a"),
  ],
};
