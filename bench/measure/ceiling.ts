/**
 * What the adapter can do at best, measured: multiply-adds without memory (f32, f16, 8-bit integers, matrix units), and the
 * bandwidth of a copy. A machine's speed drifts, so a ceiling is prepared once and measured again beside every case.
 *
 * A share of a copy is of like with like: the copy beside a case moves as many bytes (half read, half written), in one dispatch, and is
 * timed as the case is, a run from the call until the queue is empty. Of several ways to copy the fastest at that size counts.
 */
import { copy, dotI8, multiplyAdd, multiplyAddPeak, subgroupMatrix } from "#kernels";
import type { SubgroupMatrix } from "../../src/gpu/capabilities.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { compile } from "../../src/plan/compile.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Op } from "../../src/graph/op.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { dispatch, foldGrid } from "../../src/plan/dispatch.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { RunClock } from "./clock.ts";
import { median } from "./statistics.ts";

/**
 * `16 chains` is the plain loop that figures to reach are shares of; the others are ceilings: the best of several forms.
 * All in 1e9 operations a second (a multiply-add is two), the copies in 1e9 bytes read and written; `copy` is the one beside a case.
 */
export const CEILINGS = ["16 chains", "f32", "f16", "dot4I8", "subgroup matrix", "copy 16 MiB", "copy 64 MiB", "copy"] as const;
export type CeilingName = (typeof CEILINGS)[number];
export type CeilingRates = Partial<Record<CeilingName, number>>;
export const ceilingUnit = (name: string): string => (name.startsWith("copy") ? "GB/s" : name === "dot4I8" ? "GOP/s" : "GFLOP/s");

const ROUNDS = 256;
/** Chains of the forms of which the best counts. */
const FORMS = [3, 4, 6, 8, 16] as const;

interface Chains {
  groups: number;
  type: "f32" | "f16";
  form: "plain" | "dot" | number;
}

const chainsOp: Op<object, Chains, "y"> = {
  name: "multiply_add",
  infer: (_inputs, { groups, form }) => ({ y: { shape: [64 * groups, 4], dtype: form === "dot" ? "i32" : "f32" } }),
  cost: ({ attrs: { groups, form } }) => ({
    flops: 64 * groups * ROUNDS * (typeof form === "number" ? 4 * form : 16) * 4 * 2,
    bytes: 64 * groups * 16,
  }),
  lower: ({ attrs: { groups, type, form }, outputs: { y } }) => {
    const common = { bindings: { y }, grid: [groups, 1, 1] as const };
    if (form === "dot") return [dispatch({ kernel: dotI8, ...common, consts: { ROUNDS }, params: { seed: 0x01ff02fe } })];
    if (form === "plain") return [dispatch({ kernel: multiplyAdd, ...common, consts: { ROUNDS }, params: { seed: 1e-9 } })];
    return [dispatch({ kernel: multiplyAddPeak, ...common, consts: { ROUNDS, CHAINS: form }, types: { A: type }, params: { seed: 1e-9 } })];
  },
};

const matrixOp: Op<{ a: Tensor }, { config: SubgroupMatrix; groups: number; wg: number; subgroup: number }, "y"> = {
  name: "subgroup_matrix",
  infer: (_inputs, { config: { m: M, n: N }, groups, wg, subgroup }) => ({
    y: { shape: [groups * (wg / subgroup), 4 * M * N], dtype: "f32" },
  }),
  cost: ({
    attrs: {
      config: { m: M, n: N, k: K },
      groups,
      wg,
      subgroup,
    },
  }) => ({ flops: groups * (wg / subgroup) * 64 * 4 * M * N * K * 2, bytes: 0 }),
  lower: ({
    inputs: { a },
    attrs: {
      config: { m: M, n: N, k: K },
      groups,
      wg,
      subgroup,
    },
    outputs: { y },
  }) => [
    dispatch({
      kernel: subgroupMatrix,
      consts: { ROUNDS: 64, M, N, K },
      overrides: { WG: wg },
      params: { subgroups: wg / subgroup },
      bindings: { a, y },
      grid: [groups, 1, 1],
    }),
  ],
};

const copyOp: Op<{ x: Tensor }, { per: number; wg: number }, "y"> = {
  name: "copy",
  infer: ({ x }) => ({ y: { shape: x.shape, dtype: x.dtype } }),
  cost: ({ inputs: { x } }) => ({ flops: 0, bytes: 2 * x.bytes }),
  lower: ({ inputs: { x }, attrs: { per, wg }, outputs: { y } }, { caps }) => {
    const count = x.size / 4;
    return [
      dispatch({
        kernel: copy,
        consts: { PER: per },
        overrides: { WG: wg },
        params: { count },
        bindings: { x, y },
        grid: foldGrid(Math.ceil(count / (wg * per)), caps),
      }),
    ];
  },
};

/** Milliseconds that a measurement lasts at least: what submitting and waiting take must not show. */
const LEAST_MS = 40;

/** One program that a ceiling may be measured by; `amount` is what one run of it does. */
interface Form {
  readonly name: CeilingName;
  readonly program: Program;
  readonly amount: number;
  readonly repeats: number;
}

/** Bytes that a copy beside a case moves at most: more of them are no faster. */
const MOST_COPIED = 128 * 2 ** 20;

export class Ceilings implements Disposable {
  /** The copies beside the case that was measured last. */
  #beside: { bytes: number; forms: { program: Program; clock: RunClock }[] } | undefined;

  private constructor(
    readonly gpu: Gpu,
    private forms: Form[],
  ) {}

  static async create(gpu: Gpu): Promise<Ceilings> {
    const { caps } = gpu;
    const software = caps.kind === "software";
    const forms: Form[] = [];
    const add = async (name: CeilingName, record: (graph: Graph) => Tensor): Promise<void> => {
      const program = await prepared(gpu, name, record);
      const repeats = Math.min(64, Math.max(1, Math.ceil(LEAST_MS / (await timed(gpu, program, 1)))));
      forms.push({ name, program, repeats, amount: name.startsWith("copy") ? program.plan.cost.bytes : program.plan.cost.flops });
    };
    const chains = (type: Chains["type"], form: Chains["form"]) => (graph: Graph) =>
      graph.record(chainsOp, {}, { groups: Math.round((software ? 128 : 16384) * (typeof form === "number" ? 4 / form : 1)), type, form })
        .y;

    await add("16 chains", chains("f32", "plain"));
    for (const form of FORMS) {
      await add("f32", chains("f32", form));
      if (caps.f16) await add("f16", chains("f16", form));
    }
    // Without the language feature the shader is refused, and there is no ceiling to report.
    await add("dot4I8", chains("f32", "dot")).catch(() => undefined);
    const config = caps.subgroupMatrices[0];
    if (config && caps.subgroups) {
      const wg = Math.max(64, caps.subgroups.max);
      await add(
        "subgroup matrix",
        (graph) =>
          graph.record(
            matrixOp,
            { a: graph.input("a", [config.k * Math.max(config.m, config.n)], "f16") },
            { config, groups: software ? 2 : 4096, wg, subgroup: caps.subgroups!.max },
          ).y,
      ).catch(() => undefined);
    }
    for (const mib of [16, 64] as const) {
      if (mib * 2 ** 20 > caps.maxBindingBytes) continue;
      for (const form of copyForms(gpu)) await add(`copy ${mib} MiB`, copying(mib * 2 ** 20, form));
    }
    const ceilings = new Ceilings(gpu, forms);
    await ceilings.#keepBest();
    return ceilings;
  }

  /** Forms that are far from the best of their name need not be measured every time. */
  async #keepBest(): Promise<void> {
    const rated: { form: Form; rate: number }[] = [];
    for (const form of this.forms)
      rated.push({ form, rate: (form.amount * form.repeats) / (await timed(this.gpu, form.program, form.repeats)) });
    const best = (name: CeilingName) => Math.max(...rated.filter((r) => r.form.name === name).map((r) => r.rate));
    const kept = rated.filter(({ form, rate }) => rate >= 0.8 * best(form.name)).map((r) => r.form);
    for (const { program } of this.forms.filter((form) => !kept.includes(form))) program[Symbol.dispose]();
    this.forms = kept;
  }

  /**
   * Medians of `runs` each; of several forms of one ceiling the best. `only` leaves out those
   * that a case does not need; `bytes`: of a case.
   */
  async measure(runs: number, only?: readonly CeilingName[], bytes = 0): Promise<CeilingRates> {
    const rates: CeilingRates = bytes > 0 && (!only || only.includes("copy")) ? { copy: await this.#copyBeside(bytes, runs) } : {};
    for (const { name, program, amount, repeats } of this.forms) {
      if (only && !only.includes(name)) continue;
      const times: number[] = [];
      for (let i = 0; i < runs; i++) times.push(await timed(this.gpu, program, repeats));
      rates[name] = Math.max(rates[name] ?? 0, (repeats * amount) / median(times) / 1e6);
    }
    return rates;
  }

  /** Of a copy that moves `bytes`, one run at a time. */
  async #copyBeside(bytes: number, runs: number): Promise<number> {
    if (this.#beside?.bytes !== bytes) {
      this.#forgetBeside();
      const half = 16 * Math.max(1, Math.round(Math.min(bytes, MOST_COPIED, 2 * this.gpu.caps.maxBindingBytes) / 32));
      const forms: { program: Program; clock: RunClock }[] = [];
      for (const form of copyForms(this.gpu))
        forms.push({ program: await prepared(this.gpu, "copy", copying(half, form)), clock: new RunClock() });
      this.#beside = { bytes, forms };
    }
    let rate = 0;
    for (const { program, clock } of this.#beside.forms) {
      const times: number[] = [];
      for (let i = 0; i < runs; i++) {
        times.push(
          await clock.time(
            () => program.run(),
            (predicted) => this.gpu.idle(predicted),
          ),
        );
        await this.gpu.pace.drain();
      }
      rate = Math.max(rate, program.plan.cost.bytes / median(times) / 1e6);
    }
    return rate;
  }

  /** Bytes that the copy beside the last case moves. */
  get besideBytes(): number {
    return this.#beside?.forms[0]?.program.plan.cost.bytes ?? 0;
  }

  #forgetBeside(): void {
    for (const { program } of this.#beside?.forms ?? []) program[Symbol.dispose]();
    this.#beside = undefined;
  }

  [Symbol.dispose](): void {
    for (const { program } of this.forms) program[Symbol.dispose]();
    this.#forgetBeside();
  }
}

/** Threads of a workgroup, and vectors of each: one, or many. Which is faster is the adapter's affair. */
const copyForms = ({ caps }: Gpu): readonly { per: number; wg: number }[] =>
  caps.kind === "software"
    ? [
        { per: 1, wg: 64 },
        { per: 16, wg: 8 },
        { per: 16, wg: 64 },
        { per: 64, wg: 64 },
        { per: 256, wg: 64 },
      ]
    : [
        { per: 1, wg: 256 },
        { per: 4, wg: 256 },
      ];

const copying =
  (bytes: number, form: { per: number; wg: number }) =>
  (graph: Graph): Tensor =>
    graph.record(copyOp, { x: graph.input("x", [bytes / 4]) }, form).y;

/** A program that has run once: drivers compile at the first dispatch. */
async function prepared(gpu: Gpu, name: CeilingName, record: (graph: Graph) => Tensor): Promise<Program> {
  const graph = new Graph(`ceiling ${name}`);
  graph.output("y", record(graph));
  const program = await Program.create(
    gpu,
    compile(graph, gpu.caps),
    new WeightStore(gpu, {
      type: () => "f32",
      stored: () => {
        throw new Error("no weights");
      },
    }),
  );
  await timed(gpu, program, 1);
  return program;
}

async function timed(gpu: Gpu, program: Program, repeats: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < repeats; i++) await program.run();
  await gpu.pace.drain();
  return performance.now() - start;
}
