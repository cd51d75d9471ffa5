import { describe, expect, test } from "vitest";
import { causalCache } from "../../src/ops/causal_cache.ts";
import { values } from "../support/compare.ts";
import { limitedGpu, runGraph } from "../support/gpu.ts";

describe.each([
  { frames: 1, cached: false }, { frames: 3, cached: false }, { frames: 1, cached: true }, { frames: 2, cached: true }, { frames: 5, cached: true },
])("causal_cache after $frames frames, cached $cached", ({ frames, cached }) => {
  const [B, H, W, C, kept] = [2, 3, 5, 4, 2];
  const plane = H * W * C;
  const [x, cache] = [values(B * frames * plane, 1), values(B * kept * plane, 2)];
  const want: number[] = [];
  for (let b = 0; b < B; b++) {
    const own = Array.from({ length: frames }, (_, t) => x.subarray((b * frames + t) * plane, (b * frames + t + 1) * plane));
    const before = Array.from({ length: kept }, (_, t) => (cached ? cache.subarray((b * kept + t) * plane, (b * kept + t + 1) * plane) : own[0]!));
    for (const frame of [...before, ...own].slice(-kept)) want.push(...frame);
  }

  test.each([["whole", undefined], ["in windows", 512]])("%s", async (_, maxBindingBytes) => {
    await using gpu = maxBindingBytes ? await limitedGpu({ maxBindingBytes }) : undefined;
    const out = await runGraph((g) => ({ y: causalCache(g.input("x", [B, frames, H, W, C]), kept, cached ? g.input("cache", [B, kept, H, W, C]) : undefined) }), {
      ...(gpu ? { gpu } : {}),
      inputs: { x, ...(cached ? { cache } : {}) },
    });
    expect(out["y"]).toEqual(Float32Array.from(want));
  });
});
