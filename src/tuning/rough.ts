/**
 * A first look at how fast an adapter is, in about a second, for work that is over before a probe of the model would be: the heaviest kinds
 * of dispatches of the very request, each by itself. The pipelines that it makes are those that the run needs.
 */
import { namedTuning } from "#platform";
import { keptRates, type LoadRate, type MeasuredRates } from "../gpu/rates.ts";
import type { Cost, Node } from "../graph/op.ts";
import type { PlanStep } from "../plan/compile.ts";
import { computes } from "../plan/seconds.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { GenerationRequest } from "../pipelines/cogvideox/request.ts";
import { isolate } from "./isolate.ts";
import { measureGraph, ratesOf, type MeasuredGraph } from "./probe.ts";
import { keepRates } from "./rates.ts";

/** What would take longer is not begun; the first two kinds are measured however long they take. */
const ENOUGH_SECONDS = 0.8;
const AT_LEAST = 2;
/** More is left out: a tenth of a second of a CPU adapter. */
const MOST: Cost = { flops: 1e10, bytes: 2e8 };
/** Operations that count as a byte's move. */
const FLOPS_PER_BYTE = 8;
/** How weights come from a disk, where nobody has measured it. */
const FROM_DISK: LoadRate = { fixedSeconds: 0, bytesPerSecond: 3e8, weightSeconds: 2e-4 };

/** Rates, and whether they are a first look's. */
export interface RoughRates {
  readonly rates: MeasuredRates;
  readonly rough: boolean;
}

/**
 * What was kept for the model, else what a first look found before, else what one finds now. Undefined where the user wants no
 * measurements, and where each dispatch of the request would take longer than a look.
 */
export async function roughRates(model: CogVideoX, request: GenerationRequest, signal?: AbortSignal): Promise<RoughRates | undefined> {
  if ((await namedTuning()) === "off") return undefined;
  const { gpu, probeKey, checkpoint } = model;
  const { label, pieceBytes } = checkpoint.source;
  const known = await keptRates(gpu.tuningHeader, probeKey, label);
  if (known) return { rates: known, rough: false };
  const key = `rough ${probeKey}`;
  const loading = pieceBytes === undefined ? {} : Object.fromEntries(request.plan.stages.map(({ part }) => [part, FROM_DISK]));
  const before = await keptRates(gpu.tuningHeader, key, label);
  if (before) return { rates: { ...before, loading }, rough: true };
  const found = await look(model, request, signal);
  if (!found) return undefined;
  // What a driver compiles in a first run it has kept by the next.
  await keepRates(gpu.tuningHeader, { models: { [key]: { ...found, firstRunSeconds: 0 } }, loading: {} });
  return { rates: { ...found, loading }, rough: true };
}

async function look({ gpu }: CogVideoX, request: GenerationRequest, signal?: AbortSignal) {
  const began = performance.now();
  const since = (): number => (performance.now() - began) / 1000;
  const { kinds, labels } = kindsOf(request);
  if (kinds.length === 0) return undefined;
  const found: MeasuredGraph[] = [];
  const measured = new Set<string>();
  let [making, first] = [0, 0];
  for (const { steps } of kinds) {
    const own = new Set(steps.map(({ label }) => label).filter((label) => !measured.has(label)));
    if (found.length >= AT_LEAST && since() + ((making + first) * codeOf(own)) / codeOf(measured) > ENOUGH_SECONDS) continue;
    signal?.throwIfAborted();
    const before = since();
    await Promise.all(steps.map(({ dispatch }) => gpu.pipelines.get(dispatch.kernel, dispatch)));
    making += since() - before;
    const graph = await measureGraph(gpu, isolate(steps[0]!.node).record(), signal, false);
    first += graph.firstSeconds;
    found.push(graph);
    for (const label of own) measured.add(label);
  }
  const each = codeOf(labels) / labels.size / codeOf(measured);
  return { ...ratesOf(found, gpu), first: {}, pipelineSeconds: making * each, firstRunSeconds: first * each };
}

/** How long kernels take to compile beside each other: those of matrices 1, as SwiftShader and lavapipe did (2026-11-30). */
const CODE: readonly (readonly [label: RegExp, code: number])[] = [
  [/^attention/, 6],
  [/^conv3d/, 2.5],
  [/^matmul/, 1],
  [/norm/, 0.6],
  [/./, 0.15],
];
const codeOf = (labels: Iterable<string>): number =>
  [...labels].reduce((sum, label) => sum + CODE.find(([pattern]) => pattern.test(label))![1], 0);

interface Kind {
  /** Those of a node that stands for all. */
  readonly steps: readonly PlanStep[];
  /** Of all of its kind. */
  work: number;
}

/** Kinds of nodes from much work to little, first what multiplies matrices and what moves most. @returns with all kernels' labels */
function kindsOf({ plan }: GenerationRequest): { kinds: Kind[]; labels: ReadonlySet<string> } {
  const kinds = new Map<string, Kind>();
  const labels = new Set<string>();
  for (const { stage, plans } of plan.stages) {
    const times = stage === "transformer" ? plan.steps.length : 1;
    for (const { steps } of plans()) {
      const byNode = new Map<Node, PlanStep[]>();
      for (const step of steps) byNode.set(step.node, [...(byNode.get(step.node) ?? []), step]);
      for (const own of byNode.values()) {
        for (const { label } of own) labels.add(label);
        const { flops, bytes } = costOf(own);
        if (flops > MOST.flops || bytes > MOST.bytes) continue;
        const key = own.map(({ label }) => label).join("|");
        const kind = kinds.get(key) ?? { steps: own, work: 0 };
        kind.work += times * (flops + FLOPS_PER_BYTE * bytes);
        kinds.set(key, kind);
      }
    }
  }
  const sorted = [...kinds.values()].sort((a, b) => b.work - a.work);
  const multiplies = ({ steps }: Kind): boolean => steps.some(({ label }) => label.startsWith("matmul"));
  const ends = [
    sorted.find((kind) => multiplies(kind) && computes(costOf(kind.steps))) ?? sorted.find(({ steps }) => computes(costOf(steps))),
    sorted.find(({ steps }) => !computes(costOf(steps))),
  ].filter((kind) => kind !== undefined);
  return { kinds: [...ends, ...sorted.filter((kind) => !ends.includes(kind))], labels };
}

const costOf = (steps: readonly PlanStep[]): Cost => ({
  flops: steps.reduce((sum, { cost }) => sum + cost.flops, 0),
  bytes: steps.reduce((sum, { cost }) => sum + cost.bytes, 0),
});
