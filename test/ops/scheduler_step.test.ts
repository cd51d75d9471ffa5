import { expect, test } from "vitest";
import { schedulerStep } from "../../src/ops/scheduler_step.ts";
import { expectClose, toHalf, values } from "../support/compare.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";

const coefficients = Float32Array.of(6, 0.8, -0.6, 0.3, 0.7, -0.2, 0.4, 0);

function reference(x: Float32Array, v: ArrayLike<number>, guided: boolean, old?: Float32Array, noise?: Float32Array): { next: Float64Array; original: Float64Array } {
  const [g, p, q, a, b, c, d] = coefficients as unknown as [number, number, number, number, number, number, number];
  const n = x.length;
  const original = Float64Array.from(x, (xi, i) => p * xi + q * (guided ? v[i]! + g * (v[n + i]! - v[i]!) : v[i]!));
  return { original, next: original.map((x0, i) => a * x[i]! + b * x0 + (old ? c * old[i]! : 0) + (noise ? d * noise[i]! : 0)) };
}

const cases = [{ shape: [1] }, { shape: [1, 2, 1, 3, 5] }, { shape: [1, 2, 4, 8, 16] }, { shape: [67, 3] }];

test.each(cases)("DDIM, no guidance, $shape", async ({ shape }) => {
  const n = shape.reduce((a, b) => a * b);
  const sample = values(n, 1), prediction = values(n, 2);
  const out = await runGraph((g) => ({ ...schedulerStep({ sample: g.input("s", shape), prediction: g.input("p", shape), coefficients: g.input("c", [8]) }) }), { inputs: { s: sample, p: prediction, c: coefficients } });
  const want = reference(sample, prediction, false);
  expectClose(out["sample"]!, want.next, 1e-6, shape);
  expectClose(out["original"]!, want.original, 1e-6, shape);
});

const dpm = (shape: readonly number[]) => {
  const n = shape.reduce((a, b) => a * b);
  const data = { s: values(n, 1), p: values(2 * n, 2), o: values(n, 3), z: values(n, 4), c: coefficients };
  const build = (g: import("../../src/graph/graph.ts").Graph, dtype: "f32" | "f16" = "f32") =>
    ({ ...schedulerStep({ sample: g.input("s", shape), prediction: g.input("p", [2 * shape[0]!, ...shape.slice(1)], dtype), coefficients: g.input("c", [8]), oldSample: g.input("o", shape), noise: g.input("z", shape) }) });
  return { data, build, want: reference(data.s, data.p, true, data.o, data.z) };
};

test.each(cases)("DPM, guided, $shape", async ({ shape }) => {
  const { data, build, want } = dpm(shape);
  const out = await runGraph(build, { inputs: data });
  expectClose(out["sample"]!, want.next, 1e-6, shape);
  expectClose(out["original"]!, want.original, 1e-6, shape);
});

test("a prediction in f16 is guided in f32", async ({ skip }) => {
  skip(!(await testGpu()).caps.f16, "needs an adapter with shader-f16");
  const { data, build } = dpm([1, 50]);
  const rounded = data.p.map((v) => Math.round(v * 1024) / 1024);
  const out = await runGraph((g) => build(g, "f16"), { inputs: { ...data, p: toHalf(rounded) } });
  expectClose(out["sample"]!, reference(data.s, rounded, true, data.o, data.z).next, 1e-6, [50]);
});

test.each([{ shape: [1, 64 * 100] }, { shape: [1, 64 * 40] }])("windows and a folded grid change nothing, $shape", async ({ shape }) => {
  await using gpu = await limitedGpu({ maxBindingBytes: 12 * 1024, maxGrid: 7, immediates: false });
  const { data, build, want } = dpm(shape);
  const out = await runGraph(build, { gpu, inputs: data });
  expectClose(out["sample"]!, want.next, 1e-6, shape);
  expectClose(out["original"]!, want.original, 1e-6, shape);
});

test("a prediction of another size is refused", async () => {
  await expect(runGraph((g) => ({ ...schedulerStep({ sample: g.input("s", [2, 4]), prediction: g.input("p", [3, 4]), coefficients: g.input("c", [8]) }) })))
    .rejects.toThrow(/\[scheduler_step\] the prediction must hold the latents' 8 values, or twice as many for guidance, got p f32 \[3, 4\]/);
});
