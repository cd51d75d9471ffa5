/** running_statistics: one slice and several, slices of different sizes, a single position, padded channels, not finite. */
import { runningStatistics as kernel } from "#kernels";
import { padTo } from "../../../graph/packing.ts";
import { runningStatistics } from "../../../ops/running_statistics.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { drawn, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export function runningStatisticsReference(momentum: number, { stats, mean, variance }: Values) {
  const [c, padded] = [mean!.length, padTo(mean!.length, 4)];
  const slices = stats!.length / 3 / padded;
  const at = (s: number, row: number, channel: number) => stats![(s * 3 + row) * padded + channel]!;
  const each = Array.from({ length: c }, (_, channel) => {
    const all = Array.from({ length: slices }, (_, s) => [at(s, 0, channel), at(s, 1, channel), at(s, 2, channel)] as const);
    const n = all.reduce((sum, [count]) => sum + count, 0);
    const middle = all.reduce((sum, [count, m]) => sum + count * m, 0) / n;
    const squares = all.reduce((sum, [count, m, m2]) => sum + m2 + count * (m - middle) ** 2, 0);
    const [oldMean, oldVariance] = [mean![channel]!, variance![channel]!];
    if (![middle, squares].every((v) => Number.isFinite(Math.fround(v)))) return [oldMean, oldVariance] as const;
    return [
      oldMean + momentum * (middle - oldMean),
      n > 1 ? oldVariance + momentum * (squares / (n - 1) - oldVariance) : oldVariance,
    ] as const;
  });
  return { mean: each.map(([m]) => m), variance: each.map(([, v]) => v) };
}

function one(size: Size, slices: number, channels: number, momentum: number, { single = false, broken = false } = {}): OpCase {
  const padded = padTo(channels, 4);
  const kind = single ? ", a single position" : broken ? ", not finite" : "";
  const random = drawn(slices * 3 * padded, 7);
  const data = random.map((v, i) => {
    const row = Math.floor(i / padded) % 3;
    if (row === 0) return single ? 1 : 5 + (Math.floor(i / padded / 3) % 4);
    // Of three in four channels: a mean, a variance, and a sum of finite ones.
    const [slice, channel] = [Math.floor(i / padded / 3), i % padded];
    if (broken && slice === 1 && row === 1 && channel % 4 === 0) return Number.NaN;
    if (broken && slice === 2 && row === 2 && channel % 4 === 1) return Infinity;
    if (broken && row === 2 && channel % 4 === 2) return 3e38;
    return row === 1 ? v : single ? 0 : v * v;
  });
  return {
    size,
    name: `${slices} slices of ${channels} channels, momentum ${momentum}${kind}`,
    half: [],
    record: (draw) => {
      const stats = draw.input32("stats", [1, slices, 3, padded], { data });
      return runningStatistics(stats, draw.input32("mean", [channels]), draw.input32("variance", [channels], { offset: 2 }), momentum);
    },
    reference: (values) => runningStatisticsReference(momentum, values),
  };
}

export const runningStatisticsCases: OpCases = {
  op: "running_statistics",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", 1, 4, 0.1),
    one("tiny", 1, 4, 0.5, { single: true }),
    one("odd", 5, 6, 0.1),
    one("odd", 3, 70, 1),
    one("odd", 4, 10, 0.1, { broken: true }),
    one("model", 12, 512, 0.1),
  ],
};
