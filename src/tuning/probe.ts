/**
 * A probe: how fast an adapter runs the kernels of a model, in a few seconds. It runs a layer of each network at the model's own widths on
 * little work, and on more where that takes no time, and asks every dispatch how long it took. No weight is read.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Profile } from "../gpu/profile.ts";
import type { KernelRate, Rates } from "../gpu/rates.ts";
import type { Graph } from "../graph/graph.ts";
import type { Node } from "../graph/op.ts";
import { weightsOf } from "../graph/weights-of.ts";
import { compile } from "../plan/compile.ts";
import { Program } from "../run/program.ts";
import { WeightStore } from "../run/weight-store.ts";
import { drawnWeights, isolatedInput } from "./isolate.ts";
import { median } from "./measure.ts";

export interface ProbeOptions {
  signal?: AbortSignal;
  onProgress?: (done: number, what: string) => void;
  /** Seconds of a graph's second run from which on more work is not looked at. Default 0.3. */
  enoughSeconds?: number;
}

/** Runs of a graph, of which the median counts: so many, or until they have taken so long. */
const RUNS = 5;
const LONG_SECONDS = 0.6;

/** What a probe is of: graphs that have a model's kernels, on work that grows with `size` below `sizes`. */
export interface ProbedModel {
  readonly gpu: Gpu;
  /** Stands for its kernels: the same kernel is not as fast at every width. */
  readonly probeKey: string;
  probed(): Promise<{ readonly sizes: number; graphs(size: number): Iterable<Graph> }>;
}

/** Measures this model's kernels on its adapter. */
export async function probeKernels(model: ProbedModel, { signal, onProgress, enoughSeconds = 0.3 }: ProbeOptions): Promise<Rates> {
  const { gpu } = model;
  const probed = await model.probed();
  const found: MeasuredGraph[] = [];
  const making: number[] = [];
  const enough = new Set<number>();
  for (let size = 0; size < probed.sizes; size++) {
    for (const [which, graph] of [...probed.graphs(size)].entries()) {
      signal?.throwIfAborted();
      if (enough.has(which)) continue;
      onProgress?.((size + which / 4) / probed.sizes, graph.name);
      const measured = await measureGraph(gpu, graph, signal);
      found.push(measured);
      // Of later sizes most pipelines are there.
      if (size === 0) making.push(measured.pipelineSeconds);
      if (measured.seconds >= enoughSeconds) enough.add(which);
    }
  }
  return { ...ratesOf(found, gpu), pipelineSeconds: median(making) };
}

/** What graphs tell together; nothing of how long pipelines take. */
export function ratesOf(found: readonly MeasuredGraph[], { name }: Gpu): Omit<Rates, "pipelineSeconds"> {
  const kernels = new Map<string, KernelRate[]>();
  for (const { dispatches } of found)
    for (const { label, ...rate } of dispatches) kernels.set(label, [...(kernels.get(label) ?? []), rate]);
  if (kernels.size === 0)
    throw new CogwheelError("rates", `a probe must measure something, got no time of any kernel on ${name}; use another adapter`);
  const dispatching = found.flatMap(({ dispatchSeconds }) => dispatchSeconds ?? []);
  return {
    kernels: Object.fromEntries(kernels),
    dispatchSeconds: dispatching.length ? median(dispatching) : 0,
    // Of the least that is read, since the host's share of a large result comes beside its work.
    runSeconds: Math.min(...found.map(({ readSeconds }) => readSeconds)),
    bindSeconds: sum(found.map(({ bindSeconds }) => bindSeconds)) / sum(found.map(({ steps }) => steps)),
  };
}

/** A graph's times. */
export interface MeasuredGraph {
  readonly seconds: number;
  /** One for each kind of work that it does. */
  readonly dispatches: readonly (KernelRate & { readonly label: string })[];
  readonly dispatchSeconds?: number;
  readonly readSeconds: number;
  /** Of the whole plan. */
  readonly bindSeconds: number;
  readonly steps: number;
  /** Of each pipeline that was not there yet. */
  readonly pipelineSeconds: number;
  /** How much longer its very first run took, in which a driver may compile what it then keeps. */
  readonly firstSeconds: number;
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const since = (start: number): number => (performance.now() - start) / 1000;

/** Measures it on drawn data. @param thorough on one run of each kind less is known, and sooner */
export async function measureGraph(gpu: Gpu, graph: Graph, signal?: AbortSignal, thorough = true): Promise<MeasuredGraph> {
  const asked = signal ? { signal } : {};
  using weights = new WeightStore(
    gpu,
    drawnWeights(weightsOf(graph), (name) => graph.weightType(name)),
  );
  const plan = compile(graph, gpu.caps);
  await weights.load(plan.weights.values(), asked);
  await gpu.idle(0, signal); // what was loaded may still be on its way
  const make = async () => {
    const start = performance.now();
    const program = await Program.create(gpu, plan, weights, asked);
    return { program, seconds: since(start) };
  };
  const first = await make();
  first.program[Symbol.dispose]();
  let again = await make();
  // The least of a few: a machine that was held up once would tell of pipelines that are made in no time.
  let bindSeconds = again.seconds;
  for (let i = 0; thorough && i < 2; i++) {
    again.program[Symbol.dispose]();
    again = await make();
    bindSeconds = Math.min(bindSeconds, again.seconds);
  }
  using program = again.program;
  for (const [name, tensor] of graph.inputs) program.write(name, isolatedInput(tensor));
  await gpu.idle(0, signal);
  // What a generation reads of a run: of the transformer the state of its latents.
  const [read] = graph.outputs.size ? graph.outputs.keys() : graph.states.keys();
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const start = performance.now();
    await work();
    return since(start);
  };
  const run = () =>
    timed(async () => {
      await program.run(asked);
      await program.read(read!, signal);
    });
  const runs = thorough ? RUNS : 1;
  const before = await run(); // a driver may compile now, and keeps what it compiled
  // Of a long run what its dispatches take is all there is to know.
  const whole = before < LONG_SECONDS ? median(await repeated(run, runs)) : undefined;
  const readSeconds = median(await repeated(() => timed(() => program.read(read!, signal)), runs));
  const spent = medians(await repeated(() => stepSeconds(gpu, program, asked), runs, sum));
  // Where passes by themselves took longer than a run of all of them, they were timed too long.
  const all = sum(spent);
  const work = whole === undefined ? all : Math.max(0, whole - readSeconds);
  const scale = all > work && work > 0 ? work / all : 1;
  const kinds = new Map<string, { label: string; flops: number; bytes: number; seconds: number; count: number }>();
  for (const [i, { label, cost }] of plan.steps.entries()) {
    const key = `${label} ${cost.flops} ${cost.bytes}`;
    const kind = kinds.get(key) ?? { label, ...cost, seconds: 0, count: 0 };
    kinds.set(key, { ...kind, seconds: kind.seconds + scale * spent[i]!, count: kind.count + 1 });
  }
  const labels = new Set(plan.steps.map(({ label }) => label));
  return {
    seconds: work + readSeconds,
    dispatches: [...kinds.values()]
      .map(({ count, ...kind }) => ({ ...kind, seconds: kind.seconds / count }))
      // Timestamps can stand still over what takes no time.
      .filter((kind) => kind.seconds > 0),
    ...(whole === undefined ? {} : { dispatchSeconds: Math.max(0, work - all) / plan.steps.length }),
    readSeconds,
    bindSeconds,
    steps: plan.steps.length,
    pipelineSeconds: Math.max(0, first.seconds - bindSeconds) / labels.size,
    firstSeconds: Math.max(0, before - work - readSeconds),
  };
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
