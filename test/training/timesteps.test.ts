/** Explicit uniform sampling: intervals, ranks, the distribution of what is drawn. The variance of losses is in variance.test.ts. */
import { describe, expect, test } from "vitest";
import { drawnTimesteps, type SamplingOptions } from "../../src/training/sample.ts";
import { checkTimestepRange, timestepInterval, timestepsOf } from "../../src/training/timesteps.ts";

describe("intervals", () => {
  test.each([1, 2, 7, 8, 300, 1000])("%i of them cover every timestep once", (n) => {
    let next = 0;
    for (let i = 0; i < n; i++) {
      const { first, last } = timestepInterval(i, n);
      expect(first).toBe(next);
      expect(last).toBeGreaterThanOrEqual(first);
      next = last + 1;
    }
    expect(next).toBe(1000);
  });
  test("more than there are timesteps have one each", () => {
    const drawn = Array.from({ length: 1500 }, (_, i) => timestepInterval(i, 1500));
    expect(drawn.every(({ first, last }) => first === last && first < 1000)).toBe(true);
    expect(new Set(drawn.map(({ first }) => first)).size).toBe(1000);
  });
});

test("each step has one draw an interval, over all ranks and micro-steps", () => {
  for (const [ranks, count] of [
    [1, 7],
    [4, 2],
    [3, 5],
  ] as const)
    for (let step = 0; step < 20; step++) {
      const n = ranks * count;
      const all = Array.from({ length: ranks }, (_, rank) => timestepsOf("uniform", { seed: 3, step, rank, ranks, count })).flat();
      const intervals = all.map((t) =>
        Array.from({ length: n }, (_, i) => timestepInterval(i, n)).findIndex(({ first, last }) => t >= first && t <= last),
      );
      expect(intervals.toSorted((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
    }
});

test("a rank draws what it would have drawn in one process, and intervals change places", () => {
  const whole = timestepsOf("uniform", { seed: 5, step: 9, rank: 0, ranks: 1, count: 12 });
  const parts = [0, 1, 2].flatMap((rank) => timestepsOf("uniform", { seed: 5, step: 9, rank, ranks: 3, count: 4 }));
  expect(parts).toEqual(whole);
  const firsts = new Set(
    Array.from({ length: 40 }, (_, step) => Math.floor(timestepsOf("uniform", { seed: 5, step, rank: 0, ranks: 1, count: 4 })[0]! / 250)),
  );
  expect(firsts.size).toBe(4);
});

describe("a range of them", () => {
  test.each(["uniform", "random"] as const)("%s: is what clips are learned at, and prior ones at all", (timesteps) => {
    const options: SamplingOptions = {
      seed: 1,
      timesteps,
      timestepRange: [400, 409],
      textDropout: 0,
      nullText: "zeros",
      conditionDropout: 0,
    };
    const sample = { shape: [1, 4, 2, 2], textTokens: 1, load: () => Promise.reject(new Error("not read")) } as const;
    const [own, prior] = [new Set<number>(), new Set<number>()];
    for (let step = 0; step < 300; step++) {
      const place = { seed: 1, step, rank: 0, ranks: 1, count: 6 };
      // The second of two micro-steps.
      const drawn = drawnTimesteps([sample, { ...sample, prior: true }, sample], options, place, 3, 1000);
      for (const [i, t] of drawn.entries()) (i === 1 ? prior : own).add(t);
    }
    expect([...own].sort((a, b) => a - b)).toEqual(Array.from({ length: 10 }, (_, i) => 400 + i));
    expect(Math.min(...prior)).toBeLessThan(100);
    expect(Math.max(...prior)).toBeGreaterThan(900);
  });
  test("has an interval for each draw", () => {
    const place = { seed: 1, step: 0, rank: 0, ranks: 1, count: 4 };
    const tens = timestepsOf("uniform", place, () => [500, 539]).map((t) => Math.floor(t / 10));
    expect(tens.sort()).toEqual([50, 51, 52, 53]);
  });
  test.each([[[400]], [[500, 400]], [[-1, 5]], [[0, 1000]], [[0.5, 2]]])("must be one: not %j", (range) => {
    expect(() => checkTimestepRange(range)).toThrow(/timestepRange must be the first and the last timestep, from 0 to 999, got \[/);
  });
});

/** The upper tail of χ² with many degrees of freedom, by Wilson and Hilferty's cube root, which is normal to within a thousandth. */
function chiSquareTail(chi: number, degrees: number): number {
  const z = (Math.cbrt(chi / degrees) - (1 - 2 / (9 * degrees))) / Math.sqrt(2 / (9 * degrees));
  // Abramowitz and Stegun 7.1.26.
  const t = 1 / (1 + (0.3275911 * Math.abs(z)) / Math.SQRT2);
  const erf = 1 - ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp((-z * z) / 2);
  return z > 0 ? (1 - erf) / 2 : (1 + erf) / 2;
}

test.each([
  ["uniform", 8],
  ["uniform", 7],
  ["uniform", 20],
  ["random", 8],
] as const)("%s draws of %i a step are spread evenly over all timesteps", (sampling, count) => {
  const draws = 50_000;
  const seen = new Float64Array(1000);
  for (let step = 0; step * count < draws; step++)
    for (const t of timestepsOf(sampling, { seed: 1, step, rank: 0, ranks: 1, count })) seen[t]!++;
  const total = seen.reduce((a, b) => a + b, 0);
  const chi = seen.reduce((sum, n) => sum + (n - total / 1000) ** 2 / (total / 1000), 0);
  expect(chiSquareTail(chi, 999)).toBeGreaterThan(0.01);
  // Too even would be no chance either: draws within an interval are independent of each other.
  expect(chiSquareTail(chi, 999)).toBeLessThan(0.999);
  expect(seen.every((n) => n > 0)).toBe(true);
});

test("a rank that is none is refused", () => {
  expect(() => timestepsOf("uniform", { seed: 0, step: 0, rank: 2, ranks: 2, count: 1 })).toThrow(
    /\[training\] a rank must be from 0 to below/,
  );
});
