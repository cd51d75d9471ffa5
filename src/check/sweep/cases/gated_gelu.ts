/** gated_gelu: rows around the vectors, gates whose cube overflows, windows. */
import { gatedGelu as kernel } from "#kernels";
import { gatedGelu } from "../../../ops/gated_gelu.ts";
import { gelu } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export interface GatedGeluSizes {
  readonly rows: number;
  readonly f: number;
  readonly scale?: number;
}

export function gatedGeluReference({ rows, f }: GatedGeluSizes, { x }: Values): Float64Array {
  return Float64Array.from({ length: rows * f }, (_, i) => {
    const at = Math.floor(i / f) * 2 * f + (i % f);
    return gelu(x![at]!) * x![at + f]!;
  });
}

function one(size: Size, sizes: GatedGeluSizes, half = "xy", limits?: OpCase["limits"]): OpCase {
  const { rows, f, scale = 4 } = sizes;
  return {
    size,
    name: `${rows} × ${f}${scale > 4 ? `, values of ${scale}` : ""}${limits ? ", in windows" : ""} (${half})`,
    half: [...half],
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: gatedGelu(draw.input("x", [rows, 2 * f], { scale }), { dtype: draw.type("y") }) }),
    reference: (values) => ({ y: gatedGeluReference(sizes, values) }),
  };
}

export const gatedGeluCases: OpCases = {
  op: "gated_gelu",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", { rows: 1, f: 4 }),
    one("odd", { rows: 29, f: 36 }),
    one("odd", { rows: 67, f: 132 }, "x"),
    one("odd", { rows: 5, f: 36, scale: 1e5 }, ""),
    one("odd", { rows: 5, f: 36, scale: 1e15 }, ""),
    one("odd", { rows: 150, f: 64 }, "xy", { maxBindingBytes: 16384, maxGrid: 9 }),
    one("model", { rows: 67, f: 10240 }, ""),
  ],
};
