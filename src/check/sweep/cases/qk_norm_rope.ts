/** qk_norm_rope: with and without norm and rotation, where the inputs lie and beside them, windows. */
import { qkNormRope as headKernel, qkNormRopeSubgroup } from "#kernels";
import { matmul } from "../../../ops/matmul.ts";
import { qkNormRope } from "../../../ops/qk_norm_rope.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { cpuKernel, gpuKernel, oneWidth } from "../listed-kernels.ts";
import { matmulReference } from "./matmul.ts";

/** `made`: projections by head, which the op overwrites; else inputs, which it leaves. */
export interface QkSizes {
  readonly rows: number;
  readonly heads: number;
  readonly d: number;
  readonly norm?: boolean;
  /** RMSNorm in place of LayerNorm. */
  readonly rms?: boolean;
  readonly rope?: boolean;
  readonly made?: boolean;
}

const position = (r: number): number => (r * 7) % 5;
/** Inputs of a projection. */
const INNER = 16;

/** q or k, [heads, rows, d]. */
export function qkNormRopeReference(
  { rows, heads, d, rms }: QkSizes,
  x: ArrayLike<number>,
  norm?: Float32Array,
  rope?: Float32Array,
): Float64Array {
  const out = new Float64Array(heads * rows * d);
  for (let h = 0; h < heads; h++)
    for (let r = 0; r < rows; r++) {
      const at = (h * rows + r) * d;
      let v = Array.from({ length: d }, (_, i) => x[at + i]!);
      if (norm) {
        const mean = rms ? 0 : v.reduce((a, b) => a + b) / d;
        const variance = v.reduce((a, b) => a + (b - mean) ** 2, 0) / d;
        v = v.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-6)) * norm[i]! + (rms ? 0 : norm[d + i]!));
      }
      if (rope) {
        const turn = (i: number): number => rope[position(r) * d + i]!;
        v = v.map((value, i) => (i % 2 ? value * turn(i - 1) + v[i - 1]! * turn(i) : value * turn(i) - v[i + 1]! * turn(i + 1)));
      }
      out.set(v, at);
    }
  return out;
}

function one(size: Size, sizes: QkSizes, limits?: OpCase["limits"]): OpCase {
  const { rows, heads, d, norm = true, rms = false, rope = true, made = true } = sizes;
  const vectors = rms ? [d] : [2, d];
  const before = (v: Values, name: "q" | "k"): ArrayLike<number> =>
    made ? matmulReference({ m: rows, n: heads * d, k: INNER }, { heads: d }, { x: v["x"]!, w: v[`w${name}`]! }) : v[name]!;
  return {
    size,
    name:
      `${rows} rows × ${heads} heads × ${d}${norm ? `, ${rms ? "RMS-" : ""}normalised` : ""}${rope ? ", rotated" : ""}` +
      `${made ? ", in place" : ""}${limits ? ", in windows" : ""}`,
    ...(limits ? { limits } : {}),
    half: ["q", "k"],
    record: (draw) => {
      const x = made ? draw.input32("x", [rows, INNER]) : undefined;
      const part = (name: "q" | "k") =>
        x
          ? matmul(x, draw.weight(`w${name}`, [heads * d, INNER], { dtype: "f32" }), { heads: d, dtype: draw.type(name) })
          : draw.input(name, [heads, rows, d], { scale: 3 });
      const { q, k } = qkNormRope(part("q"), part("k"), {
        ...(norm
          ? {
              norm: {
                q: draw.input32("norm_q", vectors),
                k: draw.input32("norm_k", vectors),
                eps: 1e-6,
                ...(rms ? { kind: "rms_norm" as const } : {}),
              },
            }
          : {}),
        ...(rope
          ? {
              rope: {
                table: draw.input32("rope", [5, d]),
                position: draw.rows(
                  "position",
                  Uint32Array.from({ length: rows }, (_, r) => position(r)),
                ),
              },
            }
          : {}),
      });
      // Outputs of a graph are not named like its inputs.
      return { q_done: q, k_done: k };
    },
    reference: (v) => ({
      q_done: qkNormRopeReference(sizes, before(v, "q"), v["norm_q"], v["rope"]),
      k_done: qkNormRopeReference(sizes, before(v, "k"), v["norm_k"], v["rope"]),
    }),
  };
}

export const qkNormRopeCases: OpCases = {
  op: "qk_norm_rope",
  kernels: [
    gpuKernel(headKernel),
    // A head of 128 is more than the lanes of a subgroup of 4 hold.
    cpuKernel(qkNormRopeSubgroup, { needs: oneWidth, takes: (c, caps) => !c.name.includes("× 128") || caps.subgroups!.max >= 8 }),
  ],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    one("tiny", { rows: 1, heads: 1, d: 4 }),
    one("tiny", { rows: 1, heads: 1, d: 4, made: false }),
    one("odd", { rows: 19, heads: 3, d: 16 }),
    one("odd", { rows: 35, heads: 2, d: 64, made: false }),
    one("odd", { rows: 9, heads: 5, d: 40 }),
    one("odd", { rows: 7, heads: 1, d: 128 }),
    one("odd", { rows: 19, heads: 3, d: 40, rms: true }),
    one("odd", { rows: 7, heads: 2, d: 64, rms: true, rope: false, made: false }),
    one("odd", { rows: 7, heads: 3, d: 64, rope: false }),
    one("odd", { rows: 7, heads: 3, d: 64, norm: false }),
    one("odd", { rows: 7, heads: 3, d: 40, norm: false, made: false }),
    one("odd", { rows: 260, heads: 12, d: 16 }, { maxBindingBytes: 80 * 1024, maxGrid: 50 }),
    one("odd", { rows: 261, heads: 12, d: 16, made: false }, { maxBindingBytes: 80 * 1024, maxGrid: 50 }),
    one("model", { rows: 67, heads: 30, d: 64 }),
    one("model", { rows: 67, heads: 30, d: 64, rope: false }),
    one("model", { rows: 67, heads: 48, d: 64 }),
  ],
};
