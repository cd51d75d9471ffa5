/**
 * A probe: how fast an adapter runs the kernels of a model, in a few seconds. It runs a layer of each network at the model's own widths on
 * little work, and on more where that takes no time, and asks every dispatch how long it took. No weight is read.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Kernel } from "../gpu/kernel.ts";
import { Profile } from "../gpu/profile.ts";
import type { FirstRate, KernelRate, Rates } from "../gpu/rates.ts";
import type { Graph } from "../graph/graph.ts";
import type { Node } from "../graph/op.ts";
import { weightsOf } from "../graph/weights-of.ts";
import { compile, type Plan, type PlanStep } from "../plan/compile.ts";
import { weightOf } from "../plan/seconds.ts";
import { Program } from "../run/program.ts";
import { WeightStore } from "../run/weight-store.ts";
import { drawnWeights, isolatedInput } from "./isolate.ts";
import { median } from "./measure.ts";

export interface ProbeOptions {
  signal?: AbortSignal;
  onProgress?: (done: number, what: string) => void;
  /** Seconds of a graph's second run from which on more work is not looked at. Default 0.3. */
  enoughSeconds?: number;
  /** After so long no other graph is begun, and the rates are rough: a slow or loaded machine would be looked at for minutes. Default 20. */
  mostSeconds?: number;
}

/** Runs of a graph, of which the median counts: so many, or until they have taken so long. */
const RUNS = 5;
const LONG_SECONDS = 0.6;
/** Runs before those that count, of what is short. */
const SETTLING = 4;
/** What a longer run takes beside its dispatches is less than what these vary by. */
const SHORT_SECONDS = 0.1;

/** What a probe is of: graphs that have a model's kernels, on work that grows with `size` below `sizes`. */
export interface ProbedModel {
  readonly gpu: Gpu;
  /** Stands for its kernels: the same kernel is not as fast at every width. */
  readonly probeKey: string;
  probed(): Promise<{ readonly sizes: number; graphs(size: number): Iterable<Graph> }>;
}

/** Measures this model's kernels on its adapter. */
export async function probeKernels(
  model: ProbedModel,
  { signal, onProgress, enoughSeconds = 0.3, mostSeconds = 20 }: ProbeOptions,
): Promise<Rates> {
  const { gpu } = model;
  const began = performance.now();
  let rough = false;
  const probed = await model.probed();
  const found: MeasuredGraph[] = [];
  const first: Record<string, FirstRate> = {};
  using renewed = new Renewed(gpu);
  const enough = new Set<number>();
  for (let size = 0; size < probed.sizes; size++) {
    for (const [which, graph] of [...probed.graphs(size)].entries()) {
      signal?.throwIfAborted();
      if (enough.has(which)) continue;
      // What is not measured is told from what is most like it.
      if (found.length && since(began) > mostSeconds) {
        rough = true;
        continue;
      }
      onProgress?.((size + which / 4) / probed.sizes, graph.name);
      const measured = await measureGraph(gpu, graph, signal);
      found.push(measured);
      // Of later sizes most pipelines are there.
      if (size === 0) Object.assign(first, await measureFirst(gpu, graph, renewed, measured, signal));
      if (measured.seconds >= enoughSeconds) enough.add(which);
    }
  }
  return {
    ...ratesOf(found, gpu),
    ...(rough ? { rough } : {}),
    first,
    pipelineSeconds: mean(Object.values(first).map(({ pipelineSeconds }) => pipelineSeconds)),
    firstRunSeconds: mean(Object.values(first).map(({ firstRunSeconds }) => firstRunSeconds)),
  };
}

/** What graphs tell together; nothing of how long pipelines take. */
export function ratesOf(found: readonly MeasuredGraph[], { name }: Gpu): Omit<Rates, keyof FirstRate | "first"> {
  const kernels = new Map<string, KernelRate[]>();
  for (const { dispatches } of found)
    for (const { label, ...rate } of dispatches) kernels.set(label, [...(kernels.get(label) ?? []), rate]);
  if (kernels.size === 0)
    throw new CogwheelError("rates", `a probe must measure something, got no time of any kernel on ${name}; use another adapter`);
  const { runSeconds, dispatchSeconds } = besides(
    found.flatMap(({ restSeconds, steps }) => (restSeconds === undefined ? [] : { restSeconds, steps })),
  );
  return {
    kernels: Object.fromEntries(kernels),
    dispatchSeconds,
    // Of the least that is read, since the host's share of a large result comes beside its work.
    runSeconds: runSeconds + Math.min(...found.map(({ readSeconds }) => readSeconds)),
    bindSeconds: sum(found.map(({ bindSeconds }) => bindSeconds)) / sum(found.map(({ steps }) => steps)),
  };
}

/**
 * What runs took beside the work of their dispatches, as a share of the run and one of each dispatch: the line through runs of few and of
 * many dispatches that one run which the machine was held up in does not turn (Theil 1950). Of runs of as many dispatches nobody can tell
 * the two apart: then it is the run's.
 */
export function besides(runs: readonly { readonly restSeconds: number; readonly steps: number }[]): {
  runSeconds: number;
  dispatchSeconds: number;
} {
  if (runs.length === 0) return { runSeconds: 0, dispatchSeconds: 0 };
  const slopes = runs.flatMap((one, i) =>
    runs
      .slice(i + 1)
      .flatMap(({ restSeconds, steps }) => (steps === one.steps ? [] : (restSeconds - one.restSeconds) / (steps - one.steps))),
  );
  const dispatchSeconds = slopes.length ? Math.max(0, median(slopes)) : 0;
  const runSeconds = Math.max(0, median(runs.map(({ restSeconds, steps }) => restSeconds - steps * dispatchSeconds)));
  return { runSeconds, dispatchSeconds };
}

/** A graph's times. */
export interface MeasuredGraph {
  readonly seconds: number;
  /** One for each kind of work that it does. */
  readonly dispatches: readonly (KernelRate & { readonly label: string })[];
  /** Of a run that is short: what it took beside its dispatches and the reading. */
  readonly restSeconds?: number;
  readonly readSeconds: number;
  /** Of the whole plan. */
  readonly bindSeconds: number;
  readonly steps: number;
  /** How much longer its very first run took, in which a driver may compile what it then keeps. */
  readonly firstSeconds: number;
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const mean = (values: readonly number[]): number => sum(values) / Math.max(1, values.length);
const since = (start: number): number => (performance.now() - start) / 1000;

/** Measures it on drawn data. @param thorough on one run of each kind less is known, and sooner */
export async function measureGraph(gpu: Gpu, graph: Graph, signal?: AbortSignal, thorough = true): Promise<MeasuredGraph> {
  const asked = signal ? { signal } : {};
  const plan = compile(graph, gpu.caps);
  using weights = await drawn(gpu, graph, plan, signal);
  let made = await Program.create(gpu, plan, weights, asked);
  // The least of a few: a machine that was held up once would tell of pipelines that are made in no time.
  let bindSeconds = Infinity;
  for (let i = 0; i < (thorough ? 3 : 1); i++) {
    made[Symbol.dispose]();
    bindSeconds = Math.min(bindSeconds, await timed(async () => (made = await Program.create(gpu, plan, weights, asked))));
  }
  using program = made;
  await giveInputs(program, signal);
  const run = () => timed(() => runAndRead(program, signal));
  const runs = thorough ? RUNS : 1;
  const before = await run(); // a driver may compile now, and keeps what it compiled
  // Waits learn how long work is, and sleep past it after a first run that took longer (src/gpu/pace.ts).
  if (thorough) for (let i = 0, spent = before; i < SETTLING && spent < SHORT_SECONDS; i++) spent += await run();
  // Of a long run what its dispatches take is all there is to know.
  const whole = before < LONG_SECONDS ? median(await repeated(run, runs)) : undefined;
  const readSeconds = median(await repeated(() => timed(() => program.read(resultOf(program), signal)), runs));
  const spent = medians(await repeated(() => stepSeconds(gpu, program, asked), runs, sum));
  // Where passes by themselves took longer than a run of all of them, they were timed too long.
  const all = sum(spent);
  const work = whole === undefined ? all : Math.max(0, whole - readSeconds);
  const scale = all > work && work > 0 ? work / all : 1;
  const kinds = new Map<string, KernelRate & { label: string; count: number }>();
  for (const [i, step] of plan.steps.entries()) {
    const { label, cost } = step;
    const weight = weightOf(step);
    const key = `${label} ${weight} ${cost.flops} ${cost.bytes}`;
    const kind = kinds.get(key) ?? { label, ...cost, ...(weight === undefined ? {} : { weight }), seconds: 0, count: 0 };
    kinds.set(key, { ...kind, seconds: kind.seconds + scale * spent[i]!, count: kind.count + 1 });
  }
  return {
    seconds: work + readSeconds,
    dispatches: [...kinds.values()]
      .map(({ count, ...kind }) => ({ ...kind, seconds: kind.seconds / count }))
      // Timestamps can stand still over what takes no time.
      .filter((kind) => kind.seconds > 0),
    ...(whole !== undefined && whole < SHORT_SECONDS ? { restSeconds: Math.max(0, work - all) } : {}),
    readSeconds,
    bindSeconds,
    steps: plan.steps.length,
    firstSeconds: Math.max(0, before - work - readSeconds),
  };
}

/** What a generation reads of a run: of the transformer the state of its latents. */
function resultOf({ plan: { graph } }: Program): string {
  const [result] = graph.outputs.size ? graph.outputs.keys() : graph.states.keys();
  return result!;
}

async function giveInputs(program: Program, signal?: AbortSignal): Promise<void> {
  for (const [name, tensor] of program.plan.graph.inputs) program.write(name, isolatedInput(tensor));
  await program.gpu.idle(0, signal);
}

async function runAndRead(program: Program, signal?: AbortSignal): Promise<void> {
  await program.run(signal ? { signal } : {});
  await program.read(resultOf(program), signal);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return since(start);
}

/**
 * What making a graph's pipelines takes, and their first dispatches besides, in a process that is the first to meet them, on a driver that
 * is not: kernels that differ from those that have run in a comment alone are new to WebGPU, and what the driver compiles is the same.
 * They are made together, so each is said to take its share: those of convolutions take longer than those of a text encoder.
 */
async function measureFirst(
  gpu: Gpu,
  graph: Graph,
  renewed: Renewed,
  { bindSeconds, seconds }: MeasuredGraph,
  signal?: AbortSignal,
): Promise<Record<string, FirstRate>> {
  const compiled = compile(graph, gpu.caps);
  const before = new Set(renewed.labels);
  const plan = { ...compiled, steps: compiled.steps.map((step) => renewed.step(step)) };
  using weights = await drawn(gpu, graph, compiled, signal);
  let made: Program;
  const making = await timed(async () => (made = await Program.create(gpu, plan, weights, signal ? { signal } : {})));
  using program = made!;
  await giveInputs(program, signal);
  const running = await timed(() => runAndRead(program, signal));
  const labels = [...renewed.labels].filter((label) => !before.has(label));
  const share = {
    pipelineSeconds: Math.max(0, making - bindSeconds) / labels.length,
    firstRunSeconds: Math.max(0, running - seconds) / labels.length,
  };
  return Object.fromEntries(labels.map((label) => [label, share]));
}

/** Kernels that WebGPU has not met, in place of those that it has: one for each. */
class Renewed implements Disposable {
  readonly #kernels = new Map<Kernel, Kernel>();
  readonly labels = new Set<string>();
  constructor(private readonly gpu: Gpu) {}

  step(step: PlanStep): PlanStep {
    this.labels.add(step.label);
    const { kernel } = step.dispatch;
    const other = this.#kernels.get(kernel) ?? { ...kernel, source: `${kernel.source}\n// once more\n` };
    this.#kernels.set(kernel, other);
    return { ...step, dispatch: { ...step.dispatch, kernel: other } };
  }

  [Symbol.dispose](): void {
    for (const kernel of this.#kernels.values()) this.gpu.pipelines.forget(kernel);
  }
}

/** A graph's weights on the device, drawn. */
async function drawn(gpu: Gpu, graph: Graph, plan: Plan, signal?: AbortSignal): Promise<WeightStore> {
  const weights = new WeightStore(
    gpu,
    drawnWeights(weightsOf(graph), (name) => graph.weightType(name)),
  );
  await weights.load(plan.weights.values(), signal ? { signal } : {});
  await gpu.idle(0, signal); // what was loaded may still be on its way
  return weights;
}

/** Some results, fewer where they take long. */
async function repeated<T>(work: () => Promise<T>, runs: number, secondsOf: (result: T) => number = Number): Promise<T[]> {
  const results: T[] = [];
  let seconds = 0;
  do {
    const result = await work();
    results.push(result);
    seconds += secondsOf(result);
  } while (results.length < runs && seconds < LONG_SECONDS);
  return results;
}

const medians = (runs: readonly (readonly number[])[]): number[] => runs[0]!.map((_, i) => median(runs.map((run) => run[i]!)));

/** Seconds of each step, on the GPU's clock; without one, on the host's, a node at a time. */
async function stepSeconds(gpu: Gpu, program: Program, asked: { signal?: AbortSignal }): Promise<number[]> {
  const { steps } = program.plan;
  if (gpu.caps.timestamps) {
    using profile = new Profile(gpu);
    await program.run({ ...asked, profile });
    const seconds = profile.dispatches.map(({ begin, end }) => Math.max(0, end - begin) / 1e9);
    if (seconds.some((s) => s > 0)) return seconds;
  }
  const byNode = new Map<Node, number>();
  let last = performance.now();
  await program.run({
    ...asked,
    observe: async (node) => {
      await gpu.idle(0, asked.signal);
      const now = performance.now();
      byNode.set(node, (now - last) / 1000);
      last = now;
    },
  });
  const work = (i: number): number => steps[i]!.cost.flops + 8 * steps[i]!.cost.bytes + 1;
  const whole = new Map<Node, number>();
  for (const [i, { node }] of steps.entries()) whole.set(node, (whole.get(node) ?? 0) + work(i));
  return steps.map(({ node }, i) => ((byNode.get(node) ?? 0) * work(i)) / whole.get(node)!);
}
