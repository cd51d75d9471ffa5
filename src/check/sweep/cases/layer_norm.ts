/** layer_norm: with and without weights and modulation, a part of the width, rows that an index names, windows. */
import { layerNorm as rowKernel, layerNormSubgroup } from "#kernels";
import { layerNorm } from "../../../ops/layer_norm.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { cpuKernel, gpuKernel, oneWidth } from "../listed-kernels.ts";

/** `run`: so many tokens after each other share a modulation. */
export interface LayerNormSizes {
  readonly run?: number;
  readonly rows: number;
  readonly d: number;
  readonly width?: number;
  readonly affine?: boolean;
  readonly modulated?: boolean;
  /** The modulation in its other conventions: · scale + shift, the scale in the first row. */
  readonly other?: boolean;
  readonly source?: Uint32Array /** The rows that are asked for are an input. */;
  readonly given?: boolean;
}

/** Row of the modulation's table that a token's shift is in; its scale is in the next. */
const shiftRow = (r: number, run = 1): number => (Math.floor(r / run) % 3) * 2;

export function layerNormReference(
  { rows, d, width = d, source, run, other }: LayerNormSizes,
  { x, weight, bias, table }: Values,
): Float64Array {
  const out = source?.length ?? rows;
  const y = new Float64Array(out * d);
  for (let r = 0; r < out; r++) {
    const row = x!.subarray((source ? source[r]! : r) * d, ((source ? source[r]! : r) + 1) * d);
    let mean = 0;
    for (let i = 0; i < width; i++) mean += row[i]! / width;
    let variance = 0;
    for (let i = 0; i < width; i++) variance += (row[i]! - mean) ** 2 / width;
    for (let i = 0; i < width; i++) {
      let v = (row[i]! - mean) / Math.sqrt(variance + 1e-5);
      if (weight) v = v * weight[i]! + bias![i]!;
      if (table) {
        const [first, second] = [table[shiftRow(r, run) * d + i]!, table[(shiftRow(r, run) + 1) * d + i]!];
        v = other ? v * first + second : v * (1 + second) + first;
      }
      y[r * d + i] = v;
    }
  }
  return y;
}

function one(
  size: Size,
  sizes: LayerNormSizes,
  {
    title = "",
    half = "y",
    offset = 0,
    limits,
    tolerance,
  }: { title?: string; half?: string; offset?: number; limits?: OpCase["limits"]; tolerance?: OpCase["tolerance"] } = {},
): OpCase {
  const { rows, d, width, affine = true, modulated = true, source, given, run, other } = sizes;
  const out = source?.length ?? rows;
  return {
    size,
    name:
      `${rows} × ${d}${width ? ` of which ${width} count` : ""}${affine ? ", affine" : ""}${modulated ? ", modulated" : ""}` +
      `${other ? " by scale, then shift" : ""}${run ? ` by ${run} rows` : ""}` +
      `${source ? `, ${out} rows of it${given ? ", an input" : ""}` : ""}${title} (${half})`,
    half: [...half],
    ...(limits ? { limits } : {}),
    ...(tolerance ? { tolerance } : {}),
    record: (draw) => ({
      y: layerNorm(draw.input("x", [rows, d], { offset }), {
        dtype: draw.type("y"),
        ...(width ? { width } : {}),
        ...(affine ? { weight: draw.vector("weight", [width ?? d]), bias: draw.vector("bias", [width ?? d]) } : {}),
        ...(modulated
          ? {
              modulation: {
                ...(other ? { onePlus: false, scaleFirst: true } : {}),
                table: draw.input32("table", [6, d]),
                rows: draw.rows(
                  "rows",
                  Uint32Array.from({ length: out }, (_, r) => shiftRow(r, run)),
                ),
              },
            }
          : {}),
        ...(source ? { source: draw.rows("source", source, given ? "input" : "constant") } : {}),
      }),
    }),
    reference: (values) => ({ y: layerNormReference(sizes, values) }),
  };
}

export const layerNormCases: OpCases = {
  op: "layer_norm",
  kernels: [gpuKernel(rowKernel), cpuKernel(layerNormSubgroup, { needs: oneWidth })],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    one("tiny", { rows: 1, d: 4 }),
    one("odd", { rows: 67, d: 260 }),
    one("odd", { rows: 67, d: 260 }, { half: "xy" }),
    one("odd", { rows: 1100, d: 12, run: 37 }),
    one("odd", { rows: 67, d: 260, other: true }),
    one("odd", { rows: 1100, d: 12, run: 37, other: true }),
    one("odd", { rows: 5, d: 64, affine: false, other: true }),
    one("odd", { rows: 1100, d: 12, run: 37 }, { half: "xy" }),
    // Columns past the width hold something, which does not count.
    one("tiny", { rows: 1, d: 4, width: 1 }),
    one("odd", { rows: 19, d: 36, width: 26 }),
    one("odd", { rows: 19, d: 36, width: 33, affine: false, modulated: false }, { half: "xy" }),
    one("odd", { rows: 1100, d: 12, width: 5, run: 37 }),
    // More than 4 vectors for each thread of the largest workgroup.
    one("odd", { rows: 2, d: 6148 }),
    one("odd", { rows: 5, d: 64, affine: false }),
    one("odd", { rows: 5, d: 64, modulated: false }),
    one("odd", { rows: 40, d: 64, modulated: false, source: Uint32Array.of(30, 31, 32, 7) }),
    // A variance from E[x²] − mean² would lose all its digits here; what is left is the f32 subtraction of a mean of 300.
    one("odd", { rows: 5, d: 260 }, { offset: 300, title: ", a mean 300 times the deviation", tolerance: { f32: 1e-4, f16: 1e-3 } }),
    one(
      "odd",
      {
        rows: 400,
        d: 64,
        affine: false,
        modulated: false,
        source: Uint32Array.from({ length: 120 }, (_, r) => (r < 60 ? 20 + r : 80 + r)),
      },
      { limits: { maxBindingBytes: 40960, maxGrid: 17 }, title: ", in windows" },
    ),
    // Rows that no run of x holds: known and far apart, or not known.
    one(
      "odd",
      { rows: 400, d: 64, source: Uint32Array.from({ length: 120 }, (_, r) => (r * 179) % 400) },
      { limits: { maxBindingBytes: 40960, maxGrid: 17 }, title: ", in windows" },
    ),
    one(
      "odd",
      { rows: 400, d: 64, given: true, source: Uint32Array.from({ length: 120 }, (_, r) => (r < 60 ? 20 + r : 80 + r)) },
      { limits: { maxBindingBytes: 40960, maxGrid: 17 }, title: ", in windows" },
    ),
    one("odd", { rows: 40, d: 64, given: true, source: Uint32Array.of(30, 31, 32, 7) }),
    ...[1920, 3072].flatMap((d) => [one("model", { rows: 67, d }), one("model", { rows: 523, d, run: 226 })]),
    ...[1920, 3072].map((d) => one("model", { rows: 67, d, modulated: false, source: Uint32Array.from({ length: 40 }, (_, r) => 26 + r) })),
  ],
};
