/**
 * An op's gradient against its own float64 reference: the slope of the reference by central differences, along one value of an operand at
 * a time where there are few, else along random directions through all of them.
 */
import { expect, test } from "vitest";
import type { OpCase, OpCases } from "../../src/check/sweep/case.ts";
import { Draw, drawn, type Drawn } from "../../src/check/sweep/draw.ts";
import { differentiate } from "../../src/gradient/differentiate.ts";
import { watch } from "../../src/gradient/watch.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Tensor, TensorRole } from "../../src/graph/tensor.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { compile } from "../../src/plan/compile.ts";
import { testGpu } from "./gpu.ts";

/** So many values of an operand are tried one by one; more along so many random directions. */
const FEW = 48;
const DIRECTIONS = 12;

/** Draws weights as inputs, and watches everything that a gradient can be of. */
class WatchedDraw extends Draw {
  readonly watched = new Map<string, Tensor>();
  protected override place(role: TensorRole, drawn: Drawn): Tensor {
    const tensor = super.place(role === "weight" ? "input" : role, drawn);
    if (drawn.dtype === "f32" && role !== "constant") this.watched.set(drawn.name, watch(tensor));
    return tensor;
  }
}

export interface GradientTestOptions {
  /** Operands that have no gradient, by their drawn names: scales of frozen parts, sizes. */
  readonly without?: readonly string[];
  /** Relative error of a slope. Default 2e-5. */
  readonly tolerance?: number;
  /** Cases that are differentiated. Default: those that are tiny or odd, and not the ones with more than 20,000 values. */
  readonly cases?: (c: OpCase) => boolean;
}

/** A test for every case of a list. */
export function gradientTests(list: OpCases, options: GradientTestOptions = {}): void {
  const cases = list.cases.filter((c) => c.size !== "model" && (options.cases?.(c) ?? true));
  test.each(cases.map((c) => [c.name, c] as const))(`${list.op}, gradients: %s`, { timeout: 120_000 }, async (_, c) => {
    const slopes = await gradientsOf(c, options);
    expect(slopes.length).toBeGreaterThan(0);
    // A slope is judged by what slopes of its operand are in this case, for some are zero.
    for (const { operand, slope, want, scale } of slopes)
      expect(Math.abs(slope - want) / scale, `${operand}: got ${slope}, expected ${want}`).toBeLessThan(options.tolerance ?? 2e-5);
  });
}

interface Slope {
  readonly operand: string;
  readonly slope: number;
  readonly want: number;
  readonly scale: number;
}

async function gradientsOf(c: OpCase, { without = [] }: GradientTestOptions): Promise<Slope[]> {
  const gpu = await testGpu();
  const graph = new Graph(`gradient of ${c.name}`);
  const draw = new WatchedDraw(graph, "f32", c.half);
  const results = Object.entries(c.record(draw));
  const operands = [...draw.watched].filter(([name]) => !without.includes(name));
  const cotangents = results.map(([name, of]) => ({ of, gradient: graph.input(`cotangent.${name}`, of.shape) }));
  const gradients = differentiate(
    cotangents,
    operands.map(([, tensor]) => tensor),
  );
  for (const [i, gradient] of gradients.entries()) if (gradient) graph.output(`grad.${operands[i]![0]}`, gradient);
  draw.fill();
  const reference = (values: Record<string, ArrayLike<number>>) => c.reference(values as never);
  const exact = Object.fromEntries(Object.entries(draw.values).map(([name, data]) => [name, Float64Array.from(data)]));
  const given = Object.fromEntries(results.map(([name, { size }], i) => [name, drawn(size, 91 + i)]));
  const plan = compile(graph, { ...gpu.caps, ...c.limits });
  using store = new WeightStore(gpu, draw.provider);
  using program = await Program.create(gpu, plan, store);
  await program.run({
    inputs: { ...draw.inputs, ...Object.fromEntries(Object.entries(given).map(([name, data]) => [`cotangent.${name}`, data])) },
  });
  const loss = (values: Record<string, ArrayLike<number>>): number =>
    Object.entries(reference(values)).reduce((sum, [name, y]) => {
      const g = given[name]!;
      for (let i = 0; i < g.length; i++) sum += g[i]! * y[i]!;
      return sum;
    }, 0);

  const slopes: Slope[] = [];
  for (const [i, [name]] of operands.entries()) {
    const size = exact[name]!.length;
    const padded = gradients[i] ? await program.read(`grad.${name}`) : new Float32Array(size);
    // Values have no padded channels, a video has.
    const width = operands[i]![1].dim(-1);
    const channels = (size * width) / padded.length;
    const got = padded.filter((_, j) => j % width < channels);
    const directions = Array.from({ length: size <= FEW ? size : DIRECTIONS }, (_, k) =>
      size <= FEW ? Float64Array.from({ length: size }, (_, j) => +(j === k)) : Float64Array.from(drawn(size, 1234 + k)),
    );
    const own = directions.map((direction) => {
      const step = 1e-5;
      const at = (sign: number) => loss({ ...exact, [name]: exact[name]!.map((x, j) => x + sign * step * direction[j]!) });
      const want = (at(1) - at(-1)) / (2 * step);
      return { operand: name, want, slope: direction.reduce((sum, d, j) => sum + d * got[j]!, 0) };
    });
    const scale = Math.max(1e-3, Math.sqrt(own.reduce((sum, { want }) => sum + want ** 2, 0) / own.length));
    slopes.push(...own.map((slope) => ({ ...slope, scale })));
  }
  return slopes;
}
