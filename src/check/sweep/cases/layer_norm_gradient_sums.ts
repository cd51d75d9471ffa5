/** layer_norm_gradient_sums: lists of rows that are known and given, in runs and mixed, tables with unused rows, windows. */
import { layerNormGradientAffine, layerNormGradientSums as sumsKernel, layerNormGradientTable, sumGroups } from "#kernels";
import { layerNormGradient } from "../../../ops/layer_norm_gradient.ts";
import { layerNormGradientSums } from "../../../ops/layer_norm_gradient_sums.ts";
import type { ListedKernel, OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import { gainOf, modulationOf, type NormGradientSizes, normalisedRow } from "./layer_norm_gradient.ts";

export interface NormSumsSizes extends NormGradientSizes {
  /** Rows of the table. */
  readonly table?: number;
  /** The list of rows is an input. */
  readonly given?: boolean;
}

export function layerNormGradientSumsReference(sizes: NormSumsSizes, values: Values): Record<string, Float64Array> {
  const { rows, d, width = d, run, other, affine = true, modulated = true, table: count = 7 } = sizes;
  const { x, dy, weight, bias } = values as Record<string, Float32Array>;
  const [dweight, dbias, dtable] = [new Float64Array(width), new Float64Array(width), new Float64Array(count * d)];
  const withoutWeight = { ...values, weight: undefined } as unknown as Values;
  for (let r = 0; r < rows; r++) {
    const { row } = normalisedRow(x!, r, d, width);
    const first = modulationOf(r, run) * d;
    const [shift, scale] = other ? [first + d, first] : [first, first + d];
    for (let i = 0; i < width; i++) {
      const g = dy![r * d + i]!;
      dweight[i]! += g * gainOf(sizes, withoutWeight, r, i) * row[i]!;
      dbias[i]! += g * gainOf(sizes, withoutWeight, r, i);
      dtable[shift + i]! += g;
      dtable[scale + i]! += g * (weight ? row[i]! * weight[i]! + bias![i]! : row[i]!);
    }
  }
  return { ...(affine ? { dweight, dbias } : {}), ...(modulated ? { dtable } : {}) };
}

function one(size: Size, sizes: NormSumsSizes, { title = "", limits }: { title?: string; limits?: OpCase["limits"] } = {}): OpCase {
  const { rows, d, width = d, affine = true, modulated = true, run, other = false, table = 7, given } = sizes;
  const list = Uint32Array.from({ length: rows }, (_, r) => modulationOf(r, run));
  const role = given ? "input" : "constant";
  return {
    size,
    name:
      `${rows} × ${d}${width < d ? ` of which ${width} count` : ""}${affine ? ", affine" : ""}` +
      `${modulated ? `, modulated by ${table} rows` : ""}${other ? ", scale, then shift" : ""}` +
      `${run ? `, ${run} rows each` : ""}${given ? ", an input" : ""}${title}`,
    half: ["x", "dy"],
    ...(limits ? { limits } : {}),
    record: (draw) => {
      const [x, dy] = [draw.input("x", [rows, d]), draw.input("dy", [rows, d])];
      const weight = affine ? draw.vector("weight", [width]) : undefined;
      const modulation = modulated ? { table: draw.input32("table", [table, d]), rowOf: draw.rows("rows", list, role) } : {};
      const norm = { weight, table: undefined, rowOf: undefined, ...modulation };
      const attrs = { width, onePlus: !other, scaleFirst: other };
      const { statistics } = layerNormGradient({ x, dy, ...norm }, { ...attrs, eps: 1e-5 });
      const bias = affine ? draw.vector("bias", [width]) : undefined;
      return { ...layerNormGradientSums({ x, dy, statistics, bias, ...norm }, { ...attrs, of: { affine, table: modulated } }) };
    },
    reference: (values) => layerNormGradientSumsReference(sizes, values),
  };
}

const where = (kernels: readonly ListedKernel[], part: string): ListedKernel[] =>
  kernels.map((choice) => ({ ...choice, takes: (c) => c.name.includes(part) }));

export const layerNormGradientSumsCases: OpCases = {
  op: "layer_norm_gradient_sums",
  kernels: [
    ...oneKernel(sumsKernel),
    ...oneKernel(sumGroups),
    ...where(oneKernel(layerNormGradientTable), ", modulated"),
    ...where(oneKernel(layerNormGradientAffine), ", affine"),
  ],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    one("tiny", { rows: 1, d: 4 }),
    one("odd", { rows: 67, d: 260 }),
    one("odd", { rows: 67, d: 260, other: true }),
    one("odd", { rows: 67, d: 260, given: true, table: 12 }),
    one("odd", { rows: 1100, d: 12, run: 37 }),
    one("odd", { rows: 1100, d: 12, run: 37, other: true, given: true }),
    one("odd", { rows: 2000, d: 1044, modulated: false }),
    one("odd", { rows: 530, d: 68, affine: false, run: 226 }),
    one("odd", { rows: 530, d: 68, modulated: false }),
    one("odd", { rows: 19, d: 36, width: 26 }),
    one("odd", { rows: 400, d: 64, run: 100 }, { limits: { maxBindingBytes: 40960, maxGrid: 19 }, title: ", in windows" }),
    one("odd", { rows: 400, d: 64, given: true }, { limits: { maxBindingBytes: 40960, maxGrid: 19 }, title: ", in windows" }),
    ...[1920, 3072].flatMap((d) => [one("model", { rows: 67, d }), one("model", { rows: 523, d, run: 226 })]),
  ],
};
