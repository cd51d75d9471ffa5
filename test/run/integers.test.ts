/** Matmuls in 8-bit integers: taken by a table of measurements alone, the same wherever weights lie, as far away as 8 bits are. */
import { describe, expect, test } from "vitest";
import { quantizedWeights } from "../../src/checkpoint/quantized-weights.ts";
import { dequantize, quantize } from "../../src/files/quantize.ts";
import { Graph } from "../../src/graph/graph.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { compile, type CompileOptions } from "../../src/plan/compile.ts";
import type { Capabilities } from "../../src/gpu/capabilities.ts";
import { Program } from "../../src/run/program.ts";
import type { WeightChange } from "../../src/run/weight-provider.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { matmulReference, quantizedRows } from "../../src/check/sweep/cases/matmul.ts";
import { measureWork, worksOf } from "../../src/tuning/measure.ts";
import { relativeL2, values } from "../support/compare.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";

const [m, n, k] = [37, 72, 96];
const matrices = { "a.0.w": { data: values(n * k, 1, 0.1), shape: [n, k] }, "a.1.w": { data: values(n * k, 2, 0.1), shape: [n, k] } };
const bias = { data: values(n, 4), shape: [n] };
const x = values(m * k, 3);
const formats: NonNullable<CompileOptions["formats"]> = ({ shape }) => (shape.length > 1 ? "q8_0" : null);
/** What the same blocks are as numbers. */
const numbers = (name: keyof typeof matrices) => dequantize(quantize(matrices[name].data, "q8_0"), "q8_0");

/** Joined, two matrices are one; the parts of it meet at row 72, which is no panel's. */
function graph(dtype: "f32" | "f16"): Graph {
  const made = new Graph("integers", (name) => (name === "b" ? "f32" : dtype));
  const w = made.weight(["a.0.w", "a.1.w"], [2 * n, k]);
  made.output("y", matmul(made.input("x", [m, k], "f32"), w, { dtype }));
  made.output("z", matmul(made.inputs.get("x")!, made.weight("a.0.w", [n, k]), { bias: made.weight("b", [n]), activation: "gelu" }));
  return made;
}

const provider = (changes: readonly WeightChange[] = []) => ({
  ...quantizedWeights(memoryWeights({ ...matrices, b: bias }), "q8_0", () => false),
  changes: (name: string) => (name === "a.0.w" ? changes : []),
});

/** A table that names integers wherever they can be. */
function integers(caps: Capabilities, dtype: "f32" | "f16"): Capabilities {
  const { choices } = compile(graph(dtype), caps, { formats });
  const tuning = choices.map(({ key, candidates }) => [key, candidates.find((label) => label.startsWith("dot_i8 bm=64 bn=64"))!] as const);
  return { ...caps, tuning: Object.fromEntries(tuning) };
}

async function run(caps: Capabilities, dtype: "f32" | "f16", options: CompileOptions, weights = provider()) {
  const gpu = await testGpu();
  const plan = compile(graph(dtype), caps, { formats, ...options });
  using store = new WeightStore(gpu, weights);
  using program = await Program.create(gpu, plan, store);
  await gpu.scoped("running", () => program.run({ inputs: { x } }));
  await program.run(); // weights that come and go come again
  return { plan, y: await program.read("y"), z: await program.read("z") };
}

describe.each(["f32", "f16"] as const)("with %s storage", (dtype) => {
  test("are taken by a table alone, and give the product of the rounded rows", async ({ skip }) => {
    const { caps } = await testGpu();
    skip(dtype === "f16" && !caps.f16, "needs an adapter with shader-f16");
    const plain = await run(caps, dtype, {});
    expect(plain.plan.choices.every(({ candidates }) => candidates.some((label) => label.startsWith("dot_i8")))).toBe(true);
    expect(plain.plan.steps.some(({ label }) => /dot_i8|quantize/.test(label))).toBe(false);
    const got = await run(integers(caps, dtype), dtype, {});
    expect(got.plan.steps.map(({ dispatch }) => dispatch.kernel.name)).toEqual([
      "quantize_panels",
      "matmul_dot_i8",
      "quantize_panels",
      "matmul_dot_i8",
    ]);
    const w = numbers("a.0.w");
    const both = Float32Array.from([...w, ...numbers("a.1.w")]);
    const rounded = quantizedRows(x);
    const exact = Float32Array.from(matmulReference({ m, n: 2 * n, k }, {}, { x, w: both }));
    const want = Float32Array.from(matmulReference({ m, n: 2 * n, k }, {}, { x: rounded, w: both }));
    const curved = Float32Array.from(matmulReference({ m, n, k }, { activation: "gelu" }, { x: rounded, w, bias: bias.data }));
    // A value of x may be rounded the other way where it lies in the middle of two steps, to the last bit.
    expect(relativeL2(got.y, want)).toBeLessThan(dtype === "f16" ? 1e-3 : 3e-4);
    expect(relativeL2(got.z, curved)).toBeLessThan(3e-4);
    const away = relativeL2(got.y, exact);
    expect(away).toBeGreaterThan(1e-3);
    expect(away).toBeLessThan(1e-2);
    expect(relativeL2(got.y, plain.y)).toBeLessThan(1e-2);
  });

  test("give the same bytes of weights that stay, that stay as they are stored, and that come and go", async ({ skip }) => {
    const { caps } = await testGpu();
    skip(dtype === "f16" && !caps.f16, "needs an adapter with shader-f16");
    const tuned = integers(caps, dtype);
    const want = await run(tuned, dtype, {});
    for (const options of [
      { asStored: formats, slots: 0.01 },
      { asStored: formats, slots: 2 },
      { stream: () => true, slots: 1 },
      { stream: ({ names }: { names: readonly string[] }) => names.length > 1, asStored: formats, slots: 1 },
    ] satisfies CompileOptions[]) {
      const { plan, y, z } = await run(tuned, dtype, options);
      // 8 bits and a scale in f32 for 32 of them.
      for (const { weight } of plan.slots.uploads.filter(({ weight: one }) => one.packing === "q8"))
        expect(weight.bytes).toBe(Math.ceil(weight.shape[0]! / 16) * 16 * (k / 32) * 36);
      expect([y, z]).toEqual([want.y, want.z]);
    }
  });

  test("of weights with changes are as far away as 8 bits are, of the changed weights", async ({ skip }) => {
    const { caps } = await testGpu();
    skip(dtype === "f16" && !caps.f16, "needs an adapter with shader-f16");
    const changes = [3, 2].map((rank, i) => ({ up: values(n * rank, 5 + i), down: values(rank * k, 7 + i, 0.2), rank, factor: 0.5 + i }));
    const plain = await run(caps, dtype, {}, provider(changes));
    const unchanged = await run(caps, dtype, {});
    for (const options of [{}, { asStored: formats, slots: 1 }]) {
      const got = await run(integers(caps, dtype), dtype, options, provider(changes));
      // Both are rounded.
      expect(relativeL2(got.y, plain.y)).toBeLessThan(1.2e-2);
      expect(relativeL2(got.z, plain.z)).toBeLessThan(1.2e-2);
    }
    expect(relativeL2(unchanged.z, plain.z)).toBeGreaterThan(0.5);
  });
});

test("are measured within their own tolerance, and chosen where they are faster", { timeout: 120_000 }, async () => {
  const gpu = await testGpu();
  const works = worksOf([{ stage: "one", plan: compile(graph("f32"), gpu.caps, { formats }) }]);
  expect(works.map(({ key }) => key)).toEqual(["matmul m≤64 n=72 k=96 f32 f32 f32 q8_0", "matmul m≤64 n=144 k=96 f32 f32 f32 q8_0"]);
  const [work] = works;
  const integer = work!.candidates.find((label) => label.startsWith("dot_i8"))!;
  const measured = await measureWork(
    gpu,
    { ...work!, candidates: [work!.candidates[0]!, integer] },
    { rounds: 1, batchMs: 1, seconds: 30 },
  );
  expect(measured.candidates[1]).toMatchObject({ variant: integer });
  expect(measured.candidates[1]!.why).toBeUndefined();
  expect(measured.candidates[1]!.ms).toBeGreaterThan(0);
  expect(measured.candidates[1]!.error).toBeGreaterThan(1e-3);
  expect(measured.candidates[1]!.error).toBeLessThan(1e-2);
});

test("are no candidates of other weights, nor where the language has no products of them", async () => {
  const { caps } = await testGpu();
  const offered = (c: Capabilities, options: CompileOptions) =>
    compile(graph("f32"), c, options).choices.some(({ candidates }) => candidates.some((label) => label.startsWith("dot_i8")));
  expect(offered(caps, { formats })).toBe(true);
  expect(offered(caps, {})).toBe(false);
  expect(offered(caps, { formats: () => "q4_0" })).toBe(false);
  expect(offered({ ...caps, dotI8: false }, { formats })).toBe(false);
});
