/** accumulate: the first summand, over what is no number, and later ones; both storage types, a sum in its place, windows. */
import { accumulate as kernel } from "#kernels";
import { accumulate } from "../../../ops/accumulate.ts";
import { silu } from "../../../ops/silu.ts";
import { silu as siluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export const accumulateReference = (begun: boolean, { sum, x }: Values): Float64Array =>
  Float64Array.from(x!, (v, i) => (begun ? sum![i]! : 0) + v);

function one(
  size: Size,
  shape: readonly number[],
  begun: boolean,
  { placed = false, ...rest }: Partial<OpCase> & { placed?: boolean } = {},
): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}]${begun ? "" : ", the first"}${placed ? ", in its place" : ""}${rest.limits ? ", in windows" : ""}`,
    half: ["x"],
    record: (draw) => {
      const count = shape.reduce((a, b) => a * b);
      const sum = draw.input("sum", shape, begun ? {} : { data: new Float32Array(count).fill(Number.NaN) });
      return { y: accumulate(placed ? silu(sum) : sum, draw.input("x", shape), draw.input("begun", [4], { data: [+begun, 0, 0, 0] })) };
    },
    reference: (values) => {
      const before = placed ? { ...values, sum: values["sum"]!.map(siluOf) } : values;
      return { y: accumulateReference(begun, before) };
    },
    ...rest,
  };
}

export const accumulateCases: OpCases = {
  op: "accumulate",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", [4], true),
    one("odd", [67, 13], true),
    one("odd", [67, 13], false),
    one("odd", [13, 5], true, { placed: true }),
    one("odd", [13, 5], false, { placed: true }),
    one("odd", [201, 101], true, { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    one("model", [1920, 1920], true),
  ],
};
