/** What the adapter can do at best, measured: multiply-adds without memory. */
import { multiplyAdd } from "#kernels";
import type { Gpu } from "../src/gpu/gpu.ts";
import { compile } from "../src/graph/compile.ts";
import { dispatch } from "../src/graph/dispatch.ts";
import { Graph, type Op } from "../src/graph/graph.ts";
import { Program } from "../src/graph/program.ts";
import { WeightStore } from "../src/graph/weights.ts";
import { median } from "./statistics.ts";

const ROUNDS = 256;

const multiplyAddOp: Op<object, { groups: number }, "y"> = {
  name: "multiply_add",
  infer: (_inputs, { groups }) => ({ y: { shape: [64 * groups, 4], dtype: "f32" } }),
  cost: ({ attrs }) => ({ flops: 64 * attrs.groups * ROUNDS * 16 * 4 * 2, bytes: 64 * attrs.groups * 16 }),
  lower: ({ attrs, outputs: { y } }) => [dispatch({ kernel: multiplyAdd, consts: { ROUNDS }, params: { seed: 1e-9 }, bindings: { y }, grid: [attrs.groups, 1, 1] })],
};

/** GFLOP/s, the median of `runs`, with the slowest and the fastest. */
export async function measureCeiling(gpu: Gpu, runs = 7): Promise<{ median: number; least: number; most: number }> {
  const groups = gpu.caps.kind === "software" ? 128 : 16384;
  const graph = new Graph("ceiling");
  graph.output("y", graph.record(multiplyAddOp, {}, { groups }).y);
  using store = new WeightStore(gpu, { type: () => "f32", read: () => Promise.reject(new Error("no weights")) });
  const plan = compile(graph, gpu.caps);
  using program = await Program.create(gpu, plan, store);
  const rates: number[] = [];
  for (let i = 0; i <= runs; i++) {
    await gpu.idle();
    const start = performance.now();
    await program.run();
    await gpu.idle();
    if (i > 0) rates.push(plan.cost.flops / (performance.now() - start) / 1e6);
  }
  return { median: median(rates), least: Math.min(...rates), most: Math.max(...rates) };
}
