/** ema: rates of a warm-up and later ones, a step that is not taken, an average in its place, windows. */
import { ema as kernel } from "#kernels";
import { ema } from "../../../ops/ema.ts";
import { UPDATE, UPDATE_VALUES } from "../../../ops/gradient_norm.ts";
import { silu } from "../../../ops/silu.ts";
import { silu as siluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export const emaReference = (decay: number, { average, p }: Values): Float64Array =>
  Float64Array.from(average!, (v, i) => decay * v + (1 - decay) * p![i]!);

function one(
  size: Size,
  shape: readonly number[],
  decay: number,
  { taken = true, placed = false, ...rest }: Partial<OpCase> & { taken?: boolean; placed?: boolean } = {},
): OpCase {
  const control = new Float32Array(UPDATE_VALUES);
  control[UPDATE.taken] = +taken;
  control[UPDATE.averageRate] = 1 - decay;
  return {
    size,
    name:
      `[${shape.join(", ")}] of ${decay}${taken ? "" : ", not taken"}` +
      `${placed ? " in its place" : ""}${rest.limits ? ", in windows" : ""}`,
    half: [],
    record: (draw) => {
      const average = draw.input("average", shape);
      return {
        next: ema(placed ? silu(average) : average, draw.input("p", shape), draw.input("control", [UPDATE_VALUES], { data: control })),
      };
    },
    reference: (values) => {
      const before = placed ? { ...values, average: values["average"]!.map(siluOf) } : values;
      return { next: emaReference(taken ? decay : 1, before) };
    },
    ...rest,
  };
}

export const emaCases: OpCases = {
  op: "ema",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", [4], 0.1),
    one("odd", [67, 12], 0.9999),
    one("odd", [67, 13], 0.9, { taken: false }),
    one("odd", [13, 5], 0.9, { placed: true }),
    one("odd", [13, 5], 0.9, { placed: true, taken: false }),
    one("odd", [201, 101], 0.5, { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    one("model", [1920, 1920], 0.99),
  ],
};
