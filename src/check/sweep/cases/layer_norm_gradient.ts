/** layer_norm_gradient: with and without weights and modulation, a part of the width, both storage types, windows. */
import { layerNormGradient as rowKernel, layerNormGradientSubgroup } from "#kernels";
import { layerNormGradient } from "../../../ops/layer_norm_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { cpuKernel, gpuKernel, oneWidth } from "../listed-kernels.ts";

/** `run`: so many tokens after each other share a modulation. */
export interface NormGradientSizes {
  readonly rows: number;
  readonly d: number;
  readonly width?: number;
  readonly affine?: boolean;
  readonly modulated?: boolean;
  readonly run?: number;
  /** The modulation in its other conventions: · scale + shift, the scale in the first row. */
  readonly other?: boolean;
}

/** Row of the modulation's table that token r's modulation begins in. */
export const modulationOf = (r: number, run = 1): number => (Math.floor(r / run) % 3) * 2;

/** Mean and reciprocal deviation of row r, and the row normalised. */
export function normalisedRow(
  x: ArrayLike<number>,
  r: number,
  d: number,
  width: number,
): { mean: number; rstd: number; row: Float64Array } {
  let [mean, variance] = [0, 0];
  for (let i = 0; i < width; i++) mean += x[r * d + i]! / width;
  for (let i = 0; i < width; i++) variance += (x[r * d + i]! - mean) ** 2 / width;
  const rstd = 1 / Math.sqrt(variance + 1e-5);
  return { mean, rstd, row: Float64Array.from({ length: width }, (_, i) => (x[r * d + i]! - mean) * rstd) };
}

/** What column i of a token's normalised row is multiplied by. */
export function gainOf({ d, run, other }: NormGradientSizes, { weight, table }: Values, r: number, i: number): number {
  const first = modulationOf(r, run);
  const scale = table ? (other ? table[first * d + i]! : 1 + table[(first + 1) * d + i]!) : 1;
  return scale * (weight ? weight[i]! : 1);
}

export function layerNormGradientReference(sizes: NormGradientSizes, values: Values): { dx: Float64Array; statistics: Float64Array } {
  const { rows, d, width = d } = sizes;
  const [dx, statistics] = [new Float64Array(rows * d), new Float64Array(rows * 2)];
  for (let r = 0; r < rows; r++) {
    const { mean, rstd, row } = normalisedRow(values["x"]!, r, d, width);
    statistics.set([mean, rstd], 2 * r);
    const g = Float64Array.from(row, (_, i) => values["dy"]![r * d + i]! * gainOf(sizes, values, r, i));
    const along = g.reduce((sum, v, i) => sum + v * row[i]!, 0) / width;
    const all = g.reduce((sum, v) => sum + v, 0) / width;
    // What changes no normalised value has no gradient: a shift of the row, and its scaling.
    for (let i = 0; i < width; i++) dx[r * d + i] = rstd * (g[i]! - all - row[i]! * along);
  }
  return { dx, statistics };
}

interface Rest {
  readonly title?: string;
  /** Values of x lie around this. */
  readonly offset?: number;
  readonly half?: string;
  readonly limits?: OpCase["limits"];
  readonly tolerance?: OpCase["tolerance"];
}

function one(size: Size, sizes: NormGradientSizes, { title = "", offset = 0, half = "xg", limits, tolerance }: Rest = {}): OpCase {
  const { rows, d, width, affine = true, modulated = true, run, other = false } = sizes;
  return {
    size,
    name:
      `${rows} × ${d}${width ? ` of which ${width} count` : ""}${affine ? ", affine" : ""}${modulated ? ", modulated" : ""}` +
      `${other ? " by scale, then shift" : ""}${run ? ` by ${run} rows` : ""}${title} (${half})`,
    half: [...half].map((letter) => (letter === "g" ? "dy" : letter)),
    ...(limits ? { limits } : {}),
    ...(tolerance ? { tolerance } : {}),
    record: (draw) => ({
      ...layerNormGradient(
        {
          x: draw.input("x", [rows, d], { offset }),
          dy: draw.input("dy", [rows, d]),
          weight: affine ? draw.vector("weight", [width ?? d]) : undefined,
          table: modulated ? draw.input32("table", [6, d]) : undefined,
          rowOf: modulated
            ? draw.rows(
                "rows",
                Uint32Array.from({ length: rows }, (_, r) => modulationOf(r, run)),
              )
            : undefined,
        },
        { eps: 1e-5, width: width ?? d, onePlus: !other, scaleFirst: other },
      ),
    }),
    reference: (values) => layerNormGradientReference(sizes, values),
  };
}

export const layerNormGradientCases: OpCases = {
  op: "layer_norm_gradient",
  kernels: [gpuKernel(rowKernel), cpuKernel(layerNormGradientSubgroup, { needs: oneWidth })],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    one("tiny", { rows: 1, d: 4 }),
    one("odd", { rows: 67, d: 260 }),
    one("odd", { rows: 67, d: 260 }, { half: "g" }),
    one("odd", { rows: 67, d: 260 }, { half: "x" }),
    one("odd", { rows: 67, d: 260, other: true }),
    one("odd", { rows: 1100, d: 12, run: 37 }),
    one("odd", { rows: 5, d: 64, affine: false }),
    one("odd", { rows: 5, d: 64, modulated: false }),
    one("odd", { rows: 7, d: 132, affine: false, modulated: false }),
    // Columns past the width hold something, which does not count.
    one("odd", { rows: 19, d: 36, width: 26 }),
    one("odd", { rows: 19, d: 36, width: 33, affine: false, modulated: false }),
    // More than 4 vectors for each thread of the largest workgroup.
    one("odd", { rows: 2, d: 6148 }),
    // A variance from E[x²] − mean², or products around another mean, would lose all digits here; what is left is x − 300 in f32.
    one(
      "odd",
      { rows: 5, d: 260 },
      { offset: 300, title: ", a mean 300 times the deviation", tolerance: { f32: 1e-4, f16: 1e-3 }, half: "g" },
    ),
    one("odd", { rows: 400, d: 64 }, { limits: { maxBindingBytes: 40960, maxGrid: 19 }, title: ", in windows" }),
    ...[1920, 3072].flatMap((d) => [one("model", { rows: 67, d }), one("model", { rows: 523, d, run: 226 })]),
    ...[1920, 3072].map((d) => one("model", { rows: 67, d, modulated: false })),
  ],
};
