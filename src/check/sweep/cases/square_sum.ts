/** square_sum: fewer values than partials and more, windows, a chain of tensors that is added to where it lies, values that are not finite. */
import { squareSum as kernel } from "#kernels";
import { squareSum } from "../../../ops/square_sum.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** Partial i has every vector of 4 whose number leaves i. */
export function squareSumReference(partials: number, { x, before }: Values): Float64Array {
  const y = new Float64Array(2 * partials);
  if (before) y.set(before);
  x!.forEach((v, i) => {
    const lane = Math.floor(i / 4) % partials;
    if (Number.isFinite(v)) y[lane]! += v * v;
    else y[partials + lane]! += 1;
  });
  return y;
}

function one(size: Size, shape: readonly number[], partials: number, more: Partial<OpCase> & { chained?: boolean } = {}): OpCase {
  const { chained, ...rest } = more;
  return {
    size,
    name: `[${shape.join(", ")}] in ${partials}${chained ? ", after another" : ""}${more.limits ? ", in windows" : ""}`,
    half: [],
    record: (draw) => ({
      y: squareSum(draw.input("x", shape), chained ? draw.input("before", [2, partials], { offset: 2 }) : undefined, partials),
    }),
    reference: (values) => ({ y: squareSumReference(partials, values) }),
    ...rest,
  };
}

const odd = [1, Number.NaN, 2, Infinity, -Infinity, 3, 1e19, -4, 5, Number.NaN, Number.NaN, 6];

export const squareSumCases: OpCases = {
  op: "square_sum",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", [4], 2),
    one("odd", [67, 12], 16),
    one("odd", [67, 13], 16),
    one("odd", [3], 2, { chained: true }),
    one("odd", [13, 4], 200, { chained: true }),
    one("odd", [67, 12], 70, { chained: true }),
    one("odd", [201, 101], 100, { chained: true, limits: { maxBindingBytes: 16384 } }),
    {
      size: "odd",
      name: "three tensors, one after another",
      half: [],
      record: (draw) => ({
        y: squareSum(draw.input("c", [9, 4]), squareSum(draw.input("b", [2, 4]), squareSum(draw.input("a", [33, 4]), undefined, 8))),
      }),
      reference: ({ a, b, c }) => ({
        y: [a!, b!, c!].reduce<Float64Array>((before, x) => {
          const y = squareSumReference(8, { x });
          return y.map((v, i) => v + before[i]!);
        }, new Float64Array(16)),
      }),
    },
    {
      size: "odd",
      name: "values that are not finite",
      half: [],
      record: (draw) => ({ y: squareSum(draw.input("x", [12], { data: odd }), undefined, 2) }),
      reference: (values) => ({ y: squareSumReference(2, values) }),
    },
    one("model", [1920, 1920], 16384),
  ],
};
