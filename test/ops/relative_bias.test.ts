import { expect, test } from "vitest";
import { relativeBuckets } from "../../src/ops/relative_bias.ts";
import { relativeBiasCases } from "../../src/check/sweep/cases/relative_bias.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(relativeBiasCases);

test("buckets change at the distances that transformers 5.23 gives", () => {
  const borders = (buckets: number, max: number, sign: 1 | -1): [number, number][] => {
    const all = relativeBuckets(700, buckets, max);
    return Array.from({ length: 700 }, (_, i) => [i, all[699 + sign * i]!] as [number, number]).filter(
      ([i, b]) => i === 0 || all[699 + sign * (i - 1)] !== b,
    );
  };
  const published: [number, number][] = [
    [0, 0],
    [1, 1],
    [2, 2],
    [3, 3],
    [4, 4],
    [5, 5],
    [6, 6],
    [7, 7],
    [8, 8],
    [12, 9],
    [16, 10],
    [23, 11],
    [32, 12],
    [46, 13],
    [64, 14],
    [91, 15],
  ];
  expect(borders(32, 128, -1)).toEqual(published);
  expect(borders(32, 128, 1)).toEqual(published.map(([i, b]) => [i, i === 0 ? 0 : b + 16]));
  expect(borders(8, 20, 1)).toEqual([
    [0, 0],
    [1, 5],
    [2, 6],
    [7, 7],
  ]);
});
