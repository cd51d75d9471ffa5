/** add: both storage types of each summand, tails, windows, a summand that the sum takes the place of. */
import { add as kernel } from "#kernels";
import { add } from "../../../ops/add.ts";
import { silu } from "../../../ops/silu.ts";
import { silu as siluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export const addReference = ({ a, b }: Values): Float64Array => Float64Array.from(a!, (x, i) => x + b![i]!);

function one(size: Size, shape: readonly number[], more: Partial<OpCase> = {}): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}]${more.limits ? ", in windows" : ""}${more.half ? `, f16: ${more.half.join(", ")}` : ""}`,
    record: (draw) => ({ y: add(draw.input("a", shape), draw.input("b", shape), draw.type("y")) }),
    reference: (values) => ({ y: addReference(values) }),
    ...more,
  };
}

export const addCases: OpCases = {
  op: "add",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", [4]),
    one("odd", [67, 12]),
    one("odd", [67, 13], { half: ["b"] }),
    one("odd", [66, 12], { half: ["a", "y"] }),
    one("odd", [201, 101], { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    {
      size: "odd",
      name: "[13, 5] in the place of a",
      half: [],
      record: (draw) => ({ y: add(silu(draw.input32("a", [13, 5])), draw.input32("b", [13, 5])) }),
      reference: ({ a, b }) => ({ y: Float64Array.from(a!, (x, i) => siluOf(x) + b![i]!) }),
    },
    one("model", [1000, 1920]),
  ],
};
