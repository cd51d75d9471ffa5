import { describe, expect, test } from "vitest";
import { nearestUpsample } from "../../src/ops/nearest_upsample.ts";
import { values } from "../support/compare.ts";
import { limitedGpu, runGraph } from "../support/gpu.ts";

const cases = [
  { x: [1, 1, 1, 1, 4], time: true }, { x: [2, 2, 3, 5, 4], time: false }, { x: [2, 3, 3, 2, 8], time: true }, { x: [1, 4, 2, 3, 12], time: true }, { x: [1, 5, 9, 7, 4], time: true },
] as { x: [number, number, number, number, number]; time: boolean }[];

function reference([B, T, H, W, C]: number[], time: boolean, x: Float32Array): Float32Array {
  const frames = !time || T === 1 ? Array.from({ length: T! }, (_, t) => t) : Array.from({ length: T! }, (_, t) => (T! % 2 && t === 0 ? [0] : [t, t])).flat();
  const y: number[] = [];
  for (let b = 0; b < B!; b++) for (const t of frames) for (let h = 0; h < 2 * H!; h++) for (let w = 0; w < 2 * W!; w++) {
    const at = (((b * T! + t) * H! + (h >> 1)) * W! + (w >> 1)) * C!;
    y.push(...x.subarray(at, at + C!));
  }
  return Float32Array.from(y);
}

describe.each(cases)("nearest_upsample $x, time $time", ({ x: shape, time }) => {
  const x = values(shape.reduce((a, b) => a * b), 1);
  const want = reference(shape, time, x);

  test("whole", async () => {
    const out = await runGraph((g) => ({ y: nearestUpsample(g.input("x", shape), { time }) }), { inputs: { x } });
    expect(out["y"]).toEqual(want);
  });

  test("in windows", async () => {
    await using gpu = await limitedGpu({ maxBindingBytes: 1024, immediates: false });
    const out = await runGraph((g) => ({ y: nearestUpsample(g.input("x", shape), { time }) }), { gpu, inputs: { x } });
    expect(out["y"]).toEqual(want);
  });
});
