/**
 * What the adapter can do at best, measured: multiply-adds without memory (f32, f16, 8-bit integers), and the bandwidth of a
 * copy. A machine's speed drifts, so a ceiling is prepared once and measured again beside every case.
 *
 * The number of independent chains matters: a GPU wants many, a CPU as many as its registers hold. `f32` is the best of
 * several; `f32, 16 chains` is the mark that figures to reach are written in, which CPU adapters can pass.
 */
import { copy, dotI8, multiplyAdd } from "#kernels";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { compile } from "../../src/graph/compile.ts";
import { dispatch, foldGrid } from "../../src/graph/dispatch.ts";
import { Graph, type Op, type Tensor } from "../../src/graph/graph.ts";
import { Program } from "../../src/graph/program.ts";
import { WeightStore } from "../../src/graph/weights.ts";
import { median } from "./statistics.ts";

export type CeilingName = "f32" | "f32, 16 chains" | "f16" | "dot4I8" | "copy 16 MiB" | "copy 64 MiB";
/** GFLOP/s (or 1e9 operations, GB/s) by name, of those that the adapter can run. */
export type CeilingRates = Partial<Record<CeilingName, number>>;

const ROUNDS = 256;

type Chains = { groups: number; kind: "f32" | "f16" | "dot4I8"; chains: number };
const chainsOp: Op<object, Chains, "y"> = {
  name: "multiply_add",
  infer: (_inputs, { groups, kind }) => ({ y: { shape: [64 * groups, 4], dtype: kind === "dot4I8" ? "i32" : "f32" } }),
  cost: ({ attrs }) => ({ flops: 64 * attrs.groups * ROUNDS * attrs.chains * 4 * 2, bytes: 64 * attrs.groups * 16 }),
  lower: ({ attrs: { groups, kind, chains }, outputs: { y } }) => {
    const common = { bindings: { y }, grid: [groups, 1, 1] as const };
    return [kind === "dot4I8"
      ? dispatch({ kernel: dotI8, ...common, consts: { ROUNDS }, params: { seed: 0x01ff02fe } })
      : dispatch({ kernel: multiplyAdd, ...common, consts: { ROUNDS, CHAINS: chains }, types: { A: kind }, params: { seed: 1e-9 } })];
  },
};

const copyOp: Op<{ x: Tensor }, { per: number; wg: number }, "y"> = {
  name: "copy",
  infer: ({ x }) => ({ y: { shape: x.shape, dtype: x.dtype } }),
  cost: ({ inputs: { x } }) => ({ flops: 0, bytes: 2 * x.bytes }),
  lower: ({ inputs: { x }, attrs: { per, wg }, outputs: { y } }, { caps }) => {
    const count = x.size / 4;
    return [dispatch({ kernel: copy, consts: { PER: per }, overrides: { WG: wg }, params: { count }, bindings: { x, y }, grid: foldGrid(Math.ceil(count / (wg * per)), caps) })];
  },
};

interface Prepared { readonly name: CeilingName; readonly program: Program; readonly amount: number }

export class Ceilings implements Disposable {
  readonly #prepared: Prepared[];
  private constructor(readonly gpu: Gpu, prepared: Prepared[]) {
    this.#prepared = prepared;
  }

  static async create(gpu: Gpu): Promise<Ceilings> {
    const { caps } = gpu;
    const groups = caps.kind === "software" ? 128 : 16384;
    const prepared: Prepared[] = [];
    const add = async (name: CeilingName, amount: "flops" | "bytes", record: (graph: Graph) => Tensor): Promise<void> => {
      const graph = new Graph(`ceiling ${name}`);
      graph.output("y", record(graph));
      const plan = compile(graph, caps);
      const program = await Program.create(gpu, plan, new WeightStore(gpu, { type: () => "f32", read: () => Promise.reject(new Error("no weights")) }));
      await program.run();
      await gpu.pace.drain();
      prepared.push({ name, program, amount: plan.cost[amount] });
    };
    const chains = (kind: Chains["kind"], count: number) => (graph: Graph) => graph.record(chainsOp, {}, { groups: (groups * 16) / count, kind, chains: count }).y;
    for (const count of [2, 4, 8, 16]) {
      await add("f32", "flops", chains("f32", count));
      if (caps.f16) await add("f16", "flops", chains("f16", count));
    }
    await add("f32, 16 chains", "flops", chains("f32", 16));
    // An implementation without the language feature refuses the shader; there is no other way to ask an app's own device.
    await add("dot4I8", "flops", chains("dot4I8", 16)).catch(() => undefined);
    for (const mib of [16, 64] as const) {
      if (mib * 2 ** 20 > caps.maxBindingBytes) continue;
      // A thread for a vector, or fewer with more to do: which is faster is the adapter's affair, and the fastest counts.
      for (const [per, wg] of caps.kind === "software" ? [[1, 64], [16, 8], [64, 64]] as const : [[1, 256], [4, 256]] as const) {
        await add(`copy ${mib} MiB`, "bytes", (graph) => graph.record(copyOp, { x: graph.input("x", [mib * 2 ** 18]) }, { per, wg }).y);
      }
    }
    return new Ceilings(gpu, prepared);
  }

  /** Medians of `runs` each; of several ways to one ceiling the best. `only` leaves out those that a case does not need. */
  async measure(runs: number, only?: readonly CeilingName[]): Promise<CeilingRates> {
    const rates: CeilingRates = {};
    for (const { name, program, amount } of this.#prepared) {
      if (only && !only.includes(name)) continue;
      const times: number[] = [];
      for (let i = 0; i < runs; i++) {
        const start = performance.now();
        await program.run();
        await this.gpu.pace.drain();
        times.push(performance.now() - start);
      }
      rates[name] = Math.max(rates[name] ?? 0, amount / median(times) / 1e6);
    }
    return rates;
  }

  [Symbol.dispose](): void {
    for (const { program } of this.#prepared) program[Symbol.dispose]();
  }
}
