/** cast: from f32 to f16 and back, sizes around the workgroup, windows. */
import { cast as kernel } from "#kernels";
import { cast } from "../../../ops/cast.ts";
import { silu } from "../../../ops/silu.ts";
import { silu as siluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export const castReference = ({ x }: Values): Float64Array => Float64Array.from(x!);

/** In f32 a cast records nothing, so a node computes something in any case: where it is f32, before the cast or behind it. */
function one(size: Size, shape: readonly number[], half: readonly string[], limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}], f16: ${half.join(", ")}${limits ? ", in windows" : ""}`,
    half,
    ...(limits ? { limits } : {}),
    record(draw) {
      const x = draw.input("x", shape);
      return { y: x.dtype === "f32" ? cast(silu(x), draw.type("y")) : silu(cast(x, draw.type("y"))) };
    },
    reference: (values) => ({ y: castReference({ x: Float32Array.from(values["x"]!, siluOf) }) }),
  };
}

export const castCases: OpCases = {
  op: "cast",
  kernels: oneKernel(kernel).map((choice) => ({ ...choice, takes: (c, _, precision) => precision === "f16" && c.half!.length === 1 })),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", [4], ["y"]),
    one("tiny", [4], ["x"]),
    one("odd", [67, 13], ["y"]),
    one("odd", [67, 13], ["x"]),
    one("odd", [201, 101], ["x"], { maxBindingBytes: 16384, maxGrid: 7 }),
    one("model", [1000, 1920], ["y"]),
  ],
};
