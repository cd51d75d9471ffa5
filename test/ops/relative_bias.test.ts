import { expect, test } from "vitest";
import { relativeBias, relativeBuckets } from "../../src/ops/relative_bias.ts";
import { values } from "../support/compare.ts";
import { runGraph } from "../support/gpu.ts";

test("buckets change at the distances that transformers 5.23 gives", () => {
  const borders = (buckets: number, max: number, sign: 1 | -1): [number, number][] => {
    const all = relativeBuckets(700, buckets, max);
    return Array.from({ length: 700 }, (_, i) => [i, all[699 + sign * i]!] as [number, number]).filter(([i, b]) => i === 0 || all[699 + sign * (i - 1)] !== b);
  };
  const published: [number, number][] = [[0, 0], [1, 1], [2, 2], [3, 3], [4, 4], [5, 5], [6, 6], [7, 7], [8, 8], [12, 9], [16, 10], [23, 11], [32, 12], [46, 13], [64, 14], [91, 15]];
  expect(borders(32, 128, -1)).toEqual(published);
  expect(borders(32, 128, 1)).toEqual(published.map(([i, b]) => [i, i === 0 ? 0 : b + 16]));
  expect(borders(8, 20, 1)).toEqual([[0, 0], [1, 5], [2, 6], [7, 7]]);
});

test("relative_bias spreads the table over distances", async () => {
  const [length, heads, buckets] = [11, 3, 8];
  const table = values(buckets * heads, 1);
  const out = await runGraph((g) => ({ y: relativeBias(g.weight("t", [buckets, heads]), { length, maxDistance: 6 }) }), { weights: { t: { data: table, shape: [buckets, heads] } } });
  const bucket = relativeBuckets(length, buckets, 6);
  expect(out["y"]).toEqual(Float32Array.from({ length: heads * bucket.length }, (_, i) => table[bucket[i % bucket.length]! * heads + Math.floor(i / bucket.length)]!));
});
