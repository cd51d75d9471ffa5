/** combine: tails, windows, a result in the place of a. */
import { combine as kernel } from "#kernels";
import { combine } from "../../../ops/combine.ts";
import { silu } from "../../../ops/silu.ts";
import { silu as siluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export const combineReference = (alpha: number, beta: number, { a, b }: Values): Float64Array =>
  Float64Array.from(a!, (v, i) => alpha * v + beta * b![i]!);

function one(
  size: Size,
  shape: readonly number[],
  [alpha, beta]: readonly [number, number],
  { placed = false, ...rest }: Partial<OpCase> & { placed?: boolean } = {},
): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}] ${alpha} a + ${beta} b${placed ? " in the place of a" : ""}${rest.limits ? ", in windows" : ""}`,
    half: [],
    record: (draw) => {
      const a = draw.input("a", shape);
      return { y: combine(placed ? silu(a) : a, draw.input("b", shape), { alpha, beta }) };
    },
    reference: (values) => {
      const before = placed ? { ...values, a: values["a"]!.map(siluOf) } : values;
      return { y: combineReference(alpha, beta, before) };
    },
    ...rest,
  };
}

export const combineCases: OpCases = {
  op: "combine",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", [4], [2, -3]),
    one("odd", [67, 13], [3.4445, -4.775]),
    one("odd", [13, 5], [0.5, 2], { placed: true }),
    one("odd", [201, 101], [1, 1], { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    one("model", [1920, 1920], [3.4445, 1]),
  ],
};
