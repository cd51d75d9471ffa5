/** qk_norm_rope_gradient: with and without norm and rotation, the norm's own gradient, windows. */
import { qkNormRopeGradient as headKernel, qkNormRopeGradientSubgroup, sumGroups } from "#kernels";
import { qkNormRopeGradient } from "../../../ops/qk_norm_rope_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { cpuKernel, gpuKernel, oneKernel, oneWidth } from "../listed-kernels.ts";

export interface QkGradientSizes {
  readonly rows: number;
  readonly heads: number;
  readonly d: number;
  readonly norm?: boolean;
  /** RMSNorm in place of LayerNorm. */
  readonly rms?: boolean;
  readonly rope?: boolean;
  /** The norm's gradient too. Default: where there is a norm. */
  readonly ofNorm?: boolean;
}

const position = (r: number): number => (r * 7) % 5;

export function qkNormRopeGradientReference(sizes: QkGradientSizes, values: Values): Record<string, Float64Array> {
  const { rows, heads, d, rms, norm: normed = true, ofNorm = normed } = sizes;
  const { x, dy, norm, rope } = values as Record<string, Float32Array | undefined>;
  const dx = new Float64Array(heads * rows * d);
  const dnorm = new Float64Array(rms ? d : 2 * d);
  for (let h = 0; h < heads; h++)
    for (let r = 0; r < rows; r++) {
      const at = (h * rows + r) * d;
      let g = Array.from({ length: d }, (_, i) => dy![at + i]!);
      if (rope) {
        const turn = (i: number): number => rope[position(r) * d + i]!;
        // The transpose of the rotation's matrix.
        g = g.map((v, i) => (i % 2 ? g[i]! * turn(i - 1) - g[i - 1]! * turn(i) : v * turn(i) + g[i + 1]! * turn(i + 1)));
      }
      if (norm) {
        const v = Array.from({ length: d }, (_, i) => x![at + i]!);
        const mean = rms ? 0 : v.reduce((a, b) => a + b) / d;
        const rstd = 1 / Math.sqrt(v.reduce((a, b) => a + (b - mean) ** 2, 0) / d + 1e-6);
        const row = v.map((value) => (value - mean) * rstd);
        for (const [i, value] of g.entries()) {
          dnorm[i]! += value * row[i]!;
          if (!rms) dnorm[d + i]! += value;
        }
        g = g.map((value, i) => value * norm[i]!);
        const along = g.reduce((a, b, i) => a + b * row[i]!, 0) / d;
        const all = rms ? 0 : g.reduce((a, b) => a + b) / d;
        g = g.map((value, i) => rstd * (value - all - row[i]! * along));
      }
      dx.set(g, at);
    }
  return { dx, ...(ofNorm ? { dnorm } : {}) };
}

function one(size: Size, sizes: QkGradientSizes, half = "xg", limits?: OpCase["limits"]): OpCase {
  const { rows, heads, d, norm = true, rms = false, rope = true, ofNorm = norm } = sizes;
  return {
    size,
    name:
      `${rows} rows × ${heads} heads × ${d}${norm ? `, ${rms ? "RMS-" : ""}normalised` : ""}${rope ? ", rotated" : ""}` +
      `${ofNorm ? ", dnorm" : ""}${limits ? ", in windows" : ""} (${half})`,
    half: [...half].map((letter) => (letter === "g" ? "dy" : letter)),
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      ...qkNormRopeGradient(
        {
          x: draw.input("x", [heads, rows, d], { scale: 3 }),
          dy: draw.input("dy", [heads, rows, d]),
          norm: norm ? draw.input32("norm", rms ? [d] : [2, d]) : undefined,
          rope: rope ? draw.input32("rope", [5, d]) : undefined,
          position: rope
            ? draw.rows(
                "position",
                Uint32Array.from({ length: rows }, (_, r) => position(r)),
              )
            : undefined,
        },
        { eps: 1e-6, rms, ofNorm },
      ),
    }),
    reference: (values) => qkNormRopeGradientReference(sizes, values),
  };
}

export const qkNormRopeGradientCases: OpCases = {
  op: "qk_norm_rope_gradient",
  kernels: [
    gpuKernel(headKernel),
    // A head of 128 is more than the lanes of a subgroup of 4 hold.
    cpuKernel(qkNormRopeGradientSubgroup, { needs: oneWidth, takes: (c, caps) => !c.name.includes("× 128") || caps.subgroups!.max >= 8 }),
    ...oneKernel(sumGroups).map((choice) => ({ ...choice, takes: (c: OpCase) => c.name.includes("dnorm") })),
  ],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    one("tiny", { rows: 1, heads: 1, d: 4 }),
    one("odd", { rows: 19, heads: 3, d: 16 }),
    one("odd", { rows: 35, heads: 2, d: 64, ofNorm: false }, "x"),
    one("odd", { rows: 9, heads: 5, d: 40 }, "g"),
    one("odd", { rows: 7, heads: 1, d: 128 }),
    one("odd", { rows: 19, heads: 3, d: 40, rms: true }),
    one("odd", { rows: 7, heads: 2, d: 64, rms: true, rope: false, ofNorm: false }),
    one("odd", { rows: 7, heads: 3, d: 64, rope: false }),
    one("odd", { rows: 7, heads: 3, d: 40, norm: false }),
    one("odd", { rows: 2100, heads: 3, d: 8 }),
    one("odd", { rows: 260, heads: 12, d: 16 }, "xg", { maxBindingBytes: 80 * 1024, maxGrid: 50 }),
    one("model", { rows: 67, heads: 30, d: 64 }),
    one("model", { rows: 67, heads: 30, d: 64, ofNorm: false }),
    one("model", { rows: 67, heads: 30, d: 64, rope: false }),
    one("model", { rows: 67, heads: 30, d: 64, rope: false, ofNorm: false }),
    one("model", { rows: 67, heads: 48, d: 64 }),
  ],
};
