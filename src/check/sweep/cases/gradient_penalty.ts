/** gradient_penalty: few slices and many, a target and none, a gradient of zeros. */
import { gradientPenalty as kernel } from "#kernels";
import { gradientPenalty } from "../../../ops/gradient_penalty.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { drawn, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

interface Sizes {
  readonly batch: number;
  readonly slices: number;
  readonly channels: number;
}

export function gradientPenaltyReference({ batch, slices, channels }: Sizes, { sums, settings }: Values): Record<string, number[]> {
  const [weight, target, share] = settings as unknown as [number, number, number];
  const lengths = Array.from({ length: batch }, (_, b) => {
    let square = 0;
    for (let s = 0; s < slices; s++) for (let c = 0; c < channels; c++) square += sums![((b * slices + s) * 3 + 2) * channels + c]!;
    return Math.sqrt(square);
  });
  const factor = (length: number): number => (target === 0 ? weight : length === 0 ? 0 : weight * (1 - target / length));
  return {
    loss: lengths.map((length) => share * (length - target) ** 2),
    factors: lengths.flatMap((length) => Array(4).fill(factor(length))),
  };
}

function one(size: Size, sizes: Sizes, settings: readonly number[], zero = false): OpCase {
  const { batch, slices, channels } = sizes;
  const data = drawn(batch * slices * 3 * channels, 3).map((v) => (zero ? 0 : Math.abs(v)));
  return {
    size,
    name: `${batch} × ${slices} slices of ${channels}, [${settings.join(", ")}]${zero ? ", no gradient" : ""}`,
    half: [],
    record: (draw) => ({
      ...gradientPenalty(draw.input32("sums", [batch, slices, 3, channels], { data }), draw.input32("settings", [4], { data: settings })),
    }),
    reference: (values) => gradientPenaltyReference(sizes, values),
  };
}

export const gradientPenaltyCases: OpCases = {
  op: "gradient_penalty",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", { batch: 1, slices: 1, channels: 4 }, [10, 0, 5, 0]),
    one("odd", { batch: 3, slices: 67, channels: 4 }, [20, 1, 10, 0]),
    one("odd", { batch: 2, slices: 5, channels: 8 }, [0.3, 0, 0.15, 0]),
    one("odd", { batch: 2, slices: 3, channels: 4 }, [20, 1, 10, 0], true),
    one("model", { batch: 2, slices: 4352, channels: 4 }, [10, 0, 5, 0]),
  ],
};
