/** Updates of parameters from given gradients, step by step, against the optimizers' definitions in float64. */
import { describe, expect, test } from "vitest";
import { Graph } from "../../src/graph/graph.ts";
import { elements } from "../../src/graph/dtype.ts";
import { UPDATE } from "../../src/ops/gradient_norm.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { emaDecay, optimizerOf, type OptimizerOptions, updateSettings } from "../../src/training/optimizer.ts";
import { orthogonal } from "../../src/training/orthogonal.ts";
import type { Parameter } from "../../src/training/parameters.ts";
import { recordUpdate, stateName } from "../../src/training/update.ts";
import { values } from "../support/compare.ts";
import { memoryWeights, runGraph, testGpu } from "../support/gpu.ts";

const SHAPES: Record<string, readonly number[]> = {
  "a.weight": [12, 8],
  "a.bias": [12],
  "b.weight": [8, 20],
  "c.weight": [7, 10],
  "d.weight": [9, 3],
  "proj_out.weight": [16, 8],
};
const STEPS = 20;
const LR = 0.02;
const MAX_NORM = 1;
const EMA = 0.9;

/** Gradients of a step; of a fifth step not all are finite. */
const gradientOf = (name: string, step: number, bad: boolean): Float32Array => {
  const g = values(elements(SHAPES[name]!), 100 * step + name.length).map((v) => v * (1 + step / 10));
  if (bad && step === 5 && name === "a.bias") g[3] = Infinity;
  return g;
};

interface Trace {
  parameters: Record<string, ArrayLike<number>>;
  averages: Record<string, ArrayLike<number>>;
  norms: number[];
}

async function onDevice(options: OptimizerOptions, bad = false): Promise<Trace & { copies: number; taken: boolean[] }> {
  const gpu = await testGpu();
  const optimizer = optimizerOf({ lr: LR, ...options });
  const graph = new Graph("updates");
  const gradients = new Map(
    Object.entries(SHAPES).map(([name, shape]) => {
      const parameter: Parameter = { name, names: [name], shape };
      graph.state(name, shape, "f32", values(elements(shape), name.length));
      graph.state(stateName("average", name), shape, "f32", values(elements(shape), name.length));
      return [parameter, graph.input(`g.${name}`, shape)] as const;
    }),
  );
  recordUpdate(graph, gradients, { optimizer, average: true });
  const plan = compile(graph, gpu.caps);
  using store = new WeightStore(gpu, memoryWeights({}));
  using program = await Program.create(gpu, plan, store);
  const [norms, taken]: [number[], boolean[]] = [[], []];
  let update = 0;
  for (let step = 0; step < STEPS; step++) {
    const lr = LR * Math.min(1, (step + 1) / 4);
    const settings = updateSettings(optimizer, { update, lr, maxNorm: MAX_NORM, lossScale: 8, emaDecay: emaDecay(EMA, update) });
    const inputs = Object.fromEntries(
      Object.keys(SHAPES).map((name) => [`g.${name}`, gradientOf(name, step, bad).map((v) => 8 * v)] as const),
    );
    await program.run({ inputs: { ...inputs, update: settings } });
    const control = await program.read("control");
    norms.push(control[UPDATE.norm]!);
    taken.push(control[UPDATE.taken] === 1);
    update += control[UPDATE.taken]!;
  }
  const read = async (name: (parameter: string) => string) =>
    Object.fromEntries(await Promise.all(Object.keys(SHAPES).map(async (one) => [one, await program.read(name(one))] as const)));
  return {
    parameters: await read((one) => one),
    averages: await read((one) => stateName("average", one)),
    norms,
    taken,
    copies: plan.copies.length,
  };
}

/** The same in float64; a step is left out where gradients are not finite. */
function inFloat64(muon: boolean, bad = false): Trace {
  const p = Object.fromEntries(Object.entries(SHAPES).map(([name, s]) => [name, Float64Array.from(values(elements(s), name.length))]));
  const averages = Object.fromEntries(Object.entries(p).map(([name, v]) => [name, v.slice()]));
  const zeros = () => Object.fromEntries(Object.entries(p).map(([name, v]) => [name, new Float64Array(v.length)]));
  const [m, v, norms] = [zeros(), zeros(), [] as number[]];
  let t = 0;
  for (let step = 0; step < STEPS; step++) {
    const lr = LR * Math.min(1, (step + 1) / 4);
    const g = Object.fromEntries(Object.keys(SHAPES).map((name) => [name, gradientOf(name, step, bad)]));
    const all = Object.values(g).flatMap((one) => [...one]);
    norms.push(Math.hypot(...all.filter(Number.isFinite)));
    if (!all.every(Number.isFinite)) continue;
    t++;
    const factor = Math.min(1, MAX_NORM / (norms.at(-1)! + 1e-6));
    for (const [name, shape] of Object.entries(SHAPES)) {
      const [weights, gradient] = [p[name]!, Float64Array.from(g[name]!, (x) => x * factor)];
      if (muon && shape.length === 2 && name !== "proj_out.weight") {
        m[name] = m[name]!.map((x, i) => 0.95 * x + 0.05 * gradient[i]!);
        const along = gradient.map((x, i) => 0.05 * x + 0.95 * m[name]![i]!);
        const update = orthogonalInFloat64(along, shape[0]!);
        const scale = 0.2 * Math.sqrt(Math.max(...shape));
        p[name] = weights.map((x, i) => x * (1 - lr * 1e-4) - lr * scale * update[i]!);
      } else {
        m[name] = m[name]!.map((x, i) => 0.9 * x + 0.1 * gradient[i]!);
        v[name] = v[name]!.map((x, i) => 0.95 * x + 0.05 * gradient[i]! ** 2);
        p[name] = weights.map(
          (x, i) => x * (1 - lr * 1e-4) - (lr * (m[name]![i]! / (1 - 0.9 ** t))) / (Math.sqrt(v[name]![i]! / (1 - 0.95 ** t)) + 1e-8),
        );
      }
      const decay = Math.min(EMA, t / (9 + t));
      averages[name] = averages[name]!.map((x, i) => decay * x + (1 - decay) * p[name]![i]!);
    }
  }
  return { parameters: p, averages, norms };
}

/** Muon's iteration, written for rows that are no longer than columns. */
function orthogonalInFloat64(x: Float64Array, rows: number): Float64Array {
  const columns = x.length / rows;
  if (rows > columns) {
    const turned = (y: Float64Array, n: number) => Float64Array.from(y, (_, i) => y[(i % n) * (y.length / n) + Math.floor(i / n)]!);
    return turned(orthogonalInFloat64(turned(x, rows), columns), columns);
  }
  const times = (a: Float64Array, b: Float64Array, inner: number) => {
    const [n, width] = [a.length / inner, b.length / inner];
    return Float64Array.from({ length: n * width }, (_, i) => {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += a[Math.floor(i / width) * inner + k]! * b[k * width + (i % width)]!;
      return sum;
    });
  };
  const norm = Math.hypot(...x) + 1e-7;
  let y = x.map((value) => value / norm);
  for (let round = 0; round < 5; round++) {
    const turned = Float64Array.from(y, (_, i) => y[(i % rows) * columns + Math.floor(i / rows)]!);
    const gram = times(y, turned, columns);
    const square = times(gram, gram, rows);
    const along = times(
      gram.map((value, i) => -4.775 * value + 2.0315 * square[i]!),
      y,
      rows,
    );
    y = y.map((value, i) => 3.4445 * value + along[i]!);
  }
  return y;
}

const near = (got: Trace, want: Trace, tolerance: number) => {
  for (const kind of ["parameters", "averages"] as const)
    for (const [name, values] of Object.entries(want[kind])) {
      const error = Math.hypot(...Array.from(values, (x, i) => got[kind][name]![i]! - x)) / Math.hypot(...Array.from(values));
      expect(error, `${kind} ${name}`).toBeLessThan(tolerance);
    }
  got.norms.forEach((norm, i) => void expect(Math.abs(norm / want.norms[i]! - 1)).toBeLessThan(1e-6));
};

describe("20 steps from given gradients, clipped, with a warm-up and an average", () => {
  test("AdamW", async () => {
    const got = await onDevice({});
    near(got, inFloat64(false), 2e-6);
    // Every state gets its next value where it lies.
    expect(got.copies).toBe(0);
  });
  test("Muon for hidden matrices, AdamW for vectors and ends", async () => {
    const got = await onDevice({ name: "muon" });
    near(got, inFloat64(true), 2e-5);
    expect(got.copies).toBe(0);
  });
  test("a step with an infinite gradient is left out, and the next one goes on from before", async () => {
    for (const name of ["adamw", "muon"] as const) {
      const got = await onDevice({ name }, true);
      expect(got.taken.flatMap((taken, i) => (taken ? [] : [i]))).toEqual([5]);
      near(got, inFloat64(name === "muon", true), 2e-5);
    }
  });
  test("8-bit means stay near to those in f32, and small tensors are exact", async () => {
    const [got, want] = [await onDevice({ bits: 8 }), await onDevice({})];
    // Of less than 4096 values.
    expect(got.parameters).toEqual(want.parameters);
  });
});

test("means in 8 bits of a large tensor lead to nearly the same parameter", async () => {
  const gpu = await testGpu();
  const size = 4096;
  const final = await Promise.all(
    ([8, 32] as const).map(async (bits) => {
      const optimizer = optimizerOf({ lr: LR, bits });
      const graph = new Graph(`${bits} bits`);
      graph.state("w", [size], "f32", values(size, 1));
      recordUpdate(graph, new Map([[{ name: "w", names: ["w"], shape: [size] }, graph.input("g", [size])]]), { optimizer, average: false });
      expect(graph.states.has(stateName("means", "w"))).toBe(bits === 8);
      using store = new WeightStore(gpu, memoryWeights({}));
      using program = await Program.create(gpu, compile(graph, gpu.caps), store);
      for (let update = 0; update < STEPS; update++) {
        const settings = updateSettings(optimizer, { update, lr: LR, maxNorm: Infinity, lossScale: 1, emaDecay: 0 });
        // A direction that most values keep, and noise.
        const noise = values(size, 10 + update);
        const g = values(size, 2).map((v, i) => v + 0.5 * noise[i]!);
        await program.run({ inputs: { g, update: settings } });
      }
      return await program.read("w");
    }),
  );
  const [eight, full] = final as [Float32Array, Float32Array];
  const before = values(size, 1);
  const error = Math.hypot(...eight.map((v, i) => v - full[i]!)) / Math.hypot(...full.map((v, i) => v - before[i]!));
  expect(error).toBeLessThan(0.03);
  expect(error).toBeGreaterThan(1e-6);
});

test.each([
  [8, 20],
  [20, 8],
  [12, 12],
])("a matrix of %i × %i comes near to a semi-orthogonal one", async (rows, columns) => {
  const x = values(rows * columns, 7);
  const out = await runGraph((g) => ({ y: orthogonal(g.input("x", [rows, columns])) }), { inputs: { x } });
  const want = orthogonalInFloat64(Float64Array.from(x), rows);
  const error = Math.hypot(...want.map((v, i) => out["y"]![i]! - v)) / Math.hypot(...want);
  expect(error).toBeLessThan(1e-5);
  // The squares of singular values add up to the norm's square: each lies between 0.7 and 1.2.
  const mean = Math.hypot(...want) ** 2 / Math.min(rows, columns);
  expect(mean).toBeGreaterThan(0.5);
  expect(mean).toBeLessThan(1.45);
});
