/** scale_by_trace: both powers, a diagonal above and below the workgroup, padded rows, a trace of zero, windows. */
import { scaleByTrace as kernel } from "#kernels";
import { scaleByTrace } from "../../../ops/scale_by_trace.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export function scaleByTraceReference(n: number, squared: boolean, { x, gram }: Values): Float64Array {
  const stride = gram!.length / n;
  let trace = 0;
  for (let i = 0; i < n; i++) trace += gram![i * stride + i]!;
  const scale = (1 / (Math.sqrt(trace) + 1e-7)) ** (squared ? 2 : 1);
  return Float64Array.from(x!, (v) => v * scale);
}

interface Given {
  n: number;
  stride?: number;
  squared?: boolean;
  limits?: OpCase["limits"];
}

function one(size: Size, shape: readonly number[], { n, stride = n, squared = false, limits }: Given, offset = 2): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}] of [${n}, ${stride}] near ${offset}${squared ? ", squared" : ""}${limits ? ", in windows" : ""}`,
    half: [],
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      y: scaleByTrace(draw.input("x", shape), draw.input("gram", [n, stride], { offset, scale: offset / 2 }), { squared }),
    }),
    reference: (values) => ({ y: scaleByTraceReference(n, squared, values) }),
  };
}

export const scaleByTraceCases: OpCases = {
  op: "scale_by_trace",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", [4], { n: 1 }),
    one("odd", [67, 13], { n: 67, squared: true }),
    one("odd", [131, 5], { n: 6, stride: 8 }),
    one("odd", [3, 3], { n: 3 }, 0),
    one("odd", [201, 101], { n: 20, limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    one("model", [1920, 1920], { n: 1920 }),
  ],
};
