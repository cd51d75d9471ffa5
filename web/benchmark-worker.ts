/** The headless bench's ceilings and cases, in the page's worker: each case is checked by its definition before it is timed. */
import { draw } from "../bench/cases/case.ts";
import { figureOps } from "../bench/cases/figures.ts";
import { spotError } from "../bench/cases/spot.ts";
import { builders } from "../bench/contenders/builders.ts";
import { Ceilings, type CeilingRates } from "../bench/measure/ceiling.ts";
import { summarise } from "../bench/measure/statistics.ts";
import { compile, Program, WeightStore, type Gpu } from "../src/engine.ts";
import { storedValues } from "../src/run/weight-provider.ts";

/** A case that was timed, or why it was not. */
export interface BenchmarkRow {
  readonly name: string;
  readonly ms?: number;
  readonly spread?: number;
  readonly gflops?: number;
  readonly gbytes?: number;
  /** Multiply-adds and bytes a byte: where it lies under the roofline. */
  readonly intensity?: number;
  /** Of what the ceilings allow at its intensity. */
  readonly attainable?: number;
  readonly failed?: string;
}

/** What the adapter can do at best and how many cases there will be, then each of them. */
export type BenchmarkNews = { readonly ceilings: CeilingRates; readonly of: number } | BenchmarkRow;

export interface BenchmarkReport {
  readonly date: string;
  readonly adapter: string;
  readonly agent: string;
  readonly kind: string;
  readonly ceilings: CeilingRates;
  readonly rows: readonly BenchmarkRow[];
}

/** Runs of a case: enough for a median, no longer than a visitor waits. */
const RUNS = { least: 3, most: 15, ms: 1500 };

export async function runBenchmark(gpu: Gpu, tell: (news: BenchmarkNews) => void, signal: AbortSignal): Promise<BenchmarkReport> {
  using measured = await Ceilings.create(gpu);
  const ceilings = await measured.measure(3);
  tell({ ceilings, of: figureOps.length });
  const rows: BenchmarkRow[] = [];
  for (const c of figureOps) {
    signal.throwIfAborted();
    const row = await measureCase(gpu, c, ceilings, signal).catch((error: unknown): BenchmarkRow => {
      if (signal.aborted || gpu.lost) throw error;
      return { name: c.name, failed: (error as Error).message };
    });
    rows.push(row);
    tell(row);
  }
  return { date: new Date().toISOString(), adapter: gpu.name, agent: navigator.userAgent, kind: gpu.caps.kind, ceilings, rows };
}

async function measureCase(gpu: Gpu, c: (typeof figureOps)[number], ceilings: CeilingRates, signal: AbortSignal): Promise<BenchmarkRow> {
  const { graph, inputs, read } = builders[c.kind]!(c);
  using store = new WeightStore(gpu, { type: () => "f32", stored: (name) => storedValues(name, draw(c.weights[name]!)) });
  const plan = compile(graph, gpu.caps);
  using program = await Program.create(gpu, plan, store);
  await gpu.scoped(c.name, () => program.run({ inputs, signal }));
  const result = await program.read("y");
  const error = spotError(c, read ? read(result) : result);
  if (error !== undefined && !(error <= c.tolerance))
    return { name: c.name, failed: `not timed: its result departs from the definition by ${error.toExponential(1)}` };
  const times: number[] = [];
  const begun = performance.now();
  while (times.length < RUNS.most && (times.length < RUNS.least || performance.now() - begun < RUNS.ms)) {
    const start = performance.now();
    await program.run({ signal });
    await gpu.idle();
    times.push(performance.now() - start);
  }
  const { median: ms, spread } = summarise(times);
  const { flops, bytes } = plan.cost;
  const copy = ceilings["copy 64 MiB"] ?? ceilings["copy 16 MiB"] ?? Infinity;
  const least = Math.max(flops / (ceilings.f32 ?? Infinity), bytes / copy) / 1e6;
  return { name: c.name, ms, spread, gflops: flops / ms / 1e6, gbytes: bytes / ms / 1e6, intensity: flops / bytes, attainable: least / ms };
}
