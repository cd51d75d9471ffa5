/** rms_norm: rows of every workgroup, very large and very small values, windows. */
import { rmsNorm as rowKernel, rmsNormSubgroup } from "#kernels";
import { rmsNorm } from "../../../ops/rms_norm.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { cpuKernel, gpuKernel, oneWidth } from "../listed-kernels.ts";

export interface RmsSizes {
  readonly rows: number;
  readonly c: number;
  readonly eps?: number;
}

export function rmsNormReference({ c, eps = 1e-6 }: RmsSizes, { x, weight }: Values): Float64Array {
  const y = new Float64Array(x!.length);
  for (let r = 0; r < y.length; r += c) {
    let sum = 0;
    for (let i = 0; i < c; i++) sum += x![r + i]! ** 2;
    for (let i = 0; i < c; i++) y[r + i] = (x![r + i]! * weight![i]!) / Math.sqrt(sum / c + eps);
  }
  return y;
}

function one(
  size: Size,
  sizes: RmsSizes,
  { title = "", half = "y", scale = 3, limits }: { title?: string; half?: string; scale?: number; limits?: OpCase["limits"] } = {},
): OpCase {
  const { rows, c, eps } = sizes;
  return {
    size,
    name: `${rows} × ${c}${title} (${half})`,
    half: [...half],
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      y: rmsNorm(draw.input("x", [rows, c], { scale }), draw.vector("weight", [c]), {
        dtype: draw.type("y"),
        ...(eps === undefined ? {} : { eps }),
      }),
    }),
    reference: (values) => ({ y: rmsNormReference(sizes, values) }),
  };
}

export const rmsNormCases: OpCases = {
  op: "rms_norm",
  kernels: [gpuKernel(rowKernel), cpuKernel(rmsNormSubgroup, { needs: oneWidth })],
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", { rows: 1, c: 4, eps: 1e-3 }),
    one("odd", { rows: 3, c: 20, eps: 1e-3 }),
    one("odd", { rows: 67, c: 516 }, { half: "xy" }),
    one("odd", { rows: 5, c: 64, eps: 1e-20 }, { title: ", values of 1e5", scale: 1e5 }),
    one("odd", { rows: 5, c: 64, eps: 1e-20 }, { title: ", values of 1e-5", scale: 1e-5 }),
    one("odd", { rows: 300, c: 64 }, { title: ", in windows", limits: { maxBindingBytes: 16384, maxGrid: 17 } }),
    // More than 4 vectors for each thread of the largest workgroup.
    one("odd", { rows: 6, c: 5124 }),
    one("model", { rows: 226, c: 4096 }),
  ],
};
