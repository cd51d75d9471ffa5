/**
 * A probe: how fast an adapter runs the kernels of a model, and how fast the model's weights come, in a few seconds. It runs a layer
 * of each network on little work, and on more where that takes no time, and asks every dispatch how long it took. No weight is read
 * but for the rate of reading.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Profile } from "../gpu/profile.ts";
import type { KernelRate, Rates } from "../gpu/rates.ts";
import type { Graph } from "../graph/graph.ts";
import type { Node } from "../graph/op.ts";
import { weightsOf } from "../graph/weights-of.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
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
/** Bytes of weights that are read for their rate, and seconds after which no more are begun. */
const READ_BYTES = 256 * 2 ** 20;
const READ_SECONDS = 1.5;

/** Measures this model's kernels on its adapter. */
export async function probeKernels(model: CogVideoX, { signal, onProgress, enoughSeconds = 0.3 }: ProbeOptions): Promise<Rates> {
  const { gpu } = model;
  const kernels = new Map<string, KernelRate>();
  const overheads: number[] = [];
  const making: number[] = [];
  const enough = new Set<number>();
  for (let size = 0; size < model.probeSizes; size++) {
    for (const [which, graph] of [...model.probeGraphs(size)].entries()) {
      signal?.throwIfAborted();
      if (enough.has(which)) continue;
      onProgress?.((size + which / 4) / model.probeSizes, graph.name);
      const measured = await measureGraph(gpu, graph, signal);
      // What was measured of more work counts.
      for (const [label, rate] of measured.kernels) kernels.set(label, rate);
      overheads.push(measured.dispatchSeconds);
      // Of later sizes most pipelines are there.
      if (size === 0) making.push(measured.pipelineSeconds);
      if (measured.seconds >= enoughSeconds) enough.add(which);
    }
  }
  if (kernels.size === 0)
    throw new CogwheelError("rates", `a probe must measure something, got no time of any kernel on ${gpu.name}; use another adapter`);
  return {
    kernels: Object.fromEntries(kernels),
    dispatchSeconds: median(overheads),
    pipelineSeconds: median(making),
  };
}

interface MeasuredGraph {
  readonly seconds: number;
  readonly kernels: Map<string, KernelRate>;
  readonly dispatchSeconds: number;
  readonly pipelineSeconds: number;
}

async function measureGraph(gpu: Gpu, graph: Graph, signal?: AbortSignal): Promise<MeasuredGraph> {
  const asked = signal ? { signal } : {};
  using weights = new WeightStore(
    gpu,
    drawnWeights(weightsOf(graph), (name) => graph.weightType(name)),
  );
  const plan = compile(graph, gpu.caps);
  await weights.load(plan.weights.values(), asked);
  await gpu.idle(0, signal); // what was loaded may still be on its way
  const begun = performance.now();
  using program = await Program.create(gpu, plan, weights, asked);
  const made = (performance.now() - begun) / 1000;
  for (const [name, tensor] of graph.inputs) program.write(name, isolatedInput(tensor));
  await gpu.idle(0, signal);
  const timed = async (run: () => Promise<void>): Promise<number> => {
    const start = performance.now();
    await run();
    await gpu.idle(0, signal);
    return (performance.now() - start) / 1000;
  };
  await timed(() => program.run(asked)); // a driver may compile now, and keeps what it compiled
  const runs: number[] = [];
  do runs.push(await timed(() => program.run(asked)));
  while (runs.length < RUNS && runs.reduce((a, b) => a + b) < LONG_SECONDS);
  const seconds = median(runs);
  const pipelines = new Set(plan.steps.map(({ label }) => label)).size;
  const spent = await stepSeconds(gpu, program, asked);
  const kernels = new Map<string, KernelRate>();
  for (const [i, { label, cost }] of plan.steps.entries()) {
    const sum = kernels.get(label) ?? { flops: 0, bytes: 0, seconds: 0 };
    kernels.set(label, { flops: sum.flops + cost.flops, bytes: sum.bytes + cost.bytes, seconds: sum.seconds + spent[i]! });
  }
  // Timestamps can stand still over what takes no time.
  for (const [label, rate] of kernels) if (!(rate.seconds > 0)) kernels.delete(label);
  // What a run took beside its kernels; where these together took longer than a run, they were timed too long.
  const all = spent.reduce((a, b) => a + b, 0);
  const scale = all > seconds ? seconds / all : 1;
  for (const [label, rate] of kernels) kernels.set(label, { ...rate, seconds: rate.seconds * scale });
  return {
    seconds,
    kernels,
    dispatchSeconds: Math.max(0, seconds - all) / plan.steps.length,
    pipelineSeconds: made / pipelines,
  };
}

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

/** Bytes a second of weights as a generation loads them; undefined for a model without any. */
export async function probeLoading(model: CogVideoX, { signal, onProgress }: ProbeOptions): Promise<number | undefined> {
  const loading = await model.probeWeights(signal);
  if (!loading) return undefined;
  const { provider, requests } = loading;
  using store = new WeightStore(model.gpu, provider);
  const asked = signal ? { signal } : {};
  const [first, ...others] = [...requests].sort((a, b) => b.bytes - a.bytes);
  if (!first) return undefined;
  // The first compiles what the others run.
  onProgress?.(0.9, "reading weights");
  await store.load([first], asked);
  await model.gpu.idle(0, signal);
  const start = performance.now();
  let bytes = 0;
  for (const request of others) {
    if (bytes >= READ_BYTES || performance.now() - start > 1000 * READ_SECONDS) break;
    await store.load([request], asked);
    bytes += request.bytes;
  }
  await model.gpu.idle(0, signal);
  const seconds = (performance.now() - start) / 1000;
  return bytes > 0 && seconds > 0 ? bytes / seconds : undefined;
}
