import { expect, test } from "vitest";
import { gatedGelu } from "../../src/ops/gated_gelu.ts";
import { expectClose, values } from "../support/compare.ts";
import { limitedGpu, runGraph } from "../support/gpu.ts";

export const cases = [
  { tag: "tiny", rows: 1, f: 4 },
  { tag: "odd", rows: 29, f: 36 },
  { tag: "odd", rows: 67, f: 132 },
  { tag: "model", rows: 226, f: 10240 },
];

const gelu = (v: number): number => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
const reference = (x: Float32Array, rows: number, f: number): Float64Array =>
  Float64Array.from({ length: rows * f }, (_, i) => gelu(x[Math.floor(i / f) * 2 * f + (i % f)]!) * x[Math.floor(i / f) * 2 * f + f + (i % f)]!);

test.each(cases.filter((c) => c.tag !== "model"))("gated_gelu $rows × $f", async ({ rows, f }) => {
  const x = values(rows * 2 * f, 1, 4);
  const out = await runGraph((g) => ({ y: gatedGelu(g.input("x", [rows, 2 * f])) }), { inputs: { x } });
  expectClose(out["y"]!, reference(x, rows, f), 1e-6, [rows, f]);
});

test("gates of 1e5, of −1e5 and beyond where their cube overflows", async () => {
  const gates = [1e5, -1e5, 1e20, -1e20, 19.5, -19.5, 0, 3e-20];
  const x = Float32Array.from([...gates, ...gates.map((_, i) => i + 1)]);
  const out = await runGraph((g) => ({ y: gatedGelu(g.input("x", [1, 16])) }), { inputs: { x } });
  expectClose(out["y"]!.subarray(0, 2), [1e5, 0], 1e-6);
  expect([...out["y"]!.subarray(2, 4)].map(Math.abs)).toEqual([Math.fround(3 * Math.fround(1e20)), expect.closeTo(0, 2)]);
  expectClose(out["y"]!.subarray(4), [19.5 * 5, 0, 0, 0], 1e-6);
});

test("windows of rows and a folded grid change nothing", async () => {
  const [rows, f] = [150, 64];
  const x = values(rows * 2 * f, 1);
  await using gpu = await limitedGpu({ maxBindingBytes: 16 * 1024, maxGrid: 3, immediates: false });
  const out = await runGraph((g) => ({ y: gatedGelu(g.input("x", [rows, 2 * f])) }), { gpu, inputs: { x } });
  expectClose(out["y"]!, reference(x, rows, f), 1e-6, [rows, f]);
});

test("an axis that is not two halves is refused", async () => {
  await expect(runGraph((g) => ({ y: gatedGelu(g.input("x", [2, 12])) }))).rejects.toThrow(/\[gated_gelu\] the last axis must hold two halves of a multiple of 4, got x f32 \[2, 12\]/);
});
