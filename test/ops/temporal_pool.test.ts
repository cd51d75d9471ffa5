import { describe, expect, test } from "vitest";
import { temporalPool } from "../../src/ops/temporal_pool.ts";
import { values } from "../support/compare.ts";
import { limitedGpu, runGraph } from "../support/gpu.ts";

describe.each([[1, 1, 2, 3, 4], [2, 2, 3, 2, 4], [2, 5, 3, 5, 8], [1, 8, 4, 6, 4], [1, 3, 9, 8, 4]])("temporal_pool [%i, %i, %i, %i, %i]", (B, T, H, W, C) => {
  const shape = [B, T, H, W, C];
  const plane = H * W * C;
  const x = values(B * T * plane, 1);
  const frames = Math.ceil(T / 2);
  const want = new Float32Array(B * frames * plane);
  for (let b = 0; b < B; b++) for (let t = 0; t < frames; t++) for (let i = 0; i < plane; i++) {
    const first = Math.max(0, 2 * t - (T % 2));
    const second = T % 2 && t === 0 ? 0 : first + 1;
    want[(b * frames + t) * plane + i] = (x[(b * T + first) * plane + i]! + x[(b * T + second) * plane + i]!) / 2;
  }

  test("whole", async () => {
    const out = await runGraph((g) => ({ y: temporalPool(g.input("x", shape)) }), { inputs: { x } });
    expect(out["y"]).toEqual(want);
  });

  test("in windows", async () => {
    await using gpu = await limitedGpu({ maxBindingBytes: 2 * plane * 4 + 1024 });
    const out = await runGraph((g) => ({ y: temporalPool(g.input("x", shape)) }), { gpu, inputs: { x } });
    expect(out["y"]).toEqual(want);
  });
});
