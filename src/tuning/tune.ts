/** Tuning: the kernels of a model measured on the adapter that it runs on, and a table of the fastest. */
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { TuningTable } from "../gpu/tuning-table.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { RequirementOptions } from "../pipelines/cogvideox/sizes.ts";
import { described, familyOf, measureWork, worksOf, type MeasuredWork, type Work } from "./measure.ts";

/** What `tune` measures, and how thoroughly. */
export interface TuneOptions extends RequirementOptions {
  /** Fewer and shorter measurements. Default false. */
  quick?: boolean;
  signal?: AbortSignal;
  /** Opens the adapter again when a kernel lost it; the others are then measured still. Default: tuning ends there. */
  reopen?: () => Promise<Gpu>;
  /** Share of the kinds of work that is done, and what is measured now. */
  onProgress?: (done: number, work: string) => void;
  /** Each kind of work as soon as it is measured. */
  onMeasured?: (work: MeasuredWork) => void;
}

/** What was measured with, and what came out: all that somebody else needs to look at it. */
export interface TuningReport {
  readonly made: string;
  readonly seconds: number;
  readonly quick: boolean;
  readonly runtime: string;
  readonly adapter: {
    readonly name: string;
    readonly vendor: string;
    readonly architecture: string;
    readonly device: string;
    readonly description: string;
    readonly features: readonly string[];
    readonly limits: Readonly<Record<string, number>>;
  };
  readonly capabilities: Capabilities;
  readonly model: { readonly class: string; readonly dtype: "f32" | "f16"; readonly settings: object; readonly configs: object };
  readonly works: readonly MeasuredWork[];
  /** For `open({ tuning })`. */
  readonly table: TuningTable;
}

/** Kernels that take a CPU adapter's compiler seconds each, to be as slow as barriers are there. */
const FOR_GPUS = ["tiled", "dot_i8", "flash", "subgroup_matrix", "row", "head"];

const FULL = { rounds: 7, batchMs: 20, seconds: 20 };
const QUICK = { rounds: 3, batchMs: 5, seconds: 2 };

/**
 * Measures every kernel that this adapter can run for the work of a generation of this model, on drawn data: no weights are read.
 * Work that would take longer than a measurement may is left to the choice by capability, and said so.
 */
export async function tune(model: CogVideoX, options: TuneOptions = {}): Promise<TuningReport> {
  const { quick = false, signal, reopen, onProgress, onMeasured, ...generation } = options;
  const begun = performance.now();
  const software = model.gpu.caps.kind === "software";
  const onCpu =
    quick && software ? new Map(FOR_GPUS.map((family) => [family, "a kernel for GPUs on a CPU adapter, with --quick"])) : undefined;
  const families = new Families(quick || software);
  const limits = { ...(quick ? QUICK : FULL), ...(signal ? { signal } : {}) };
  const works = worksOf(model.plans(generation).flatMap(({ stage, plans }) => plans.map((plan) => ({ stage, plan }))));
  const total = works.reduce((n, w) => n + w.candidates.length, 0);
  let gpu = model.gpu;
  const own: Gpu[] = [];
  const measured: MeasuredWork[] = [];
  let done = 0;
  // Operations a millisecond, the best so far: small work comes first and tells how long the large would take.
  let rate = 0;
  try {
    for (const work of works) {
      signal?.throwIfAborted();
      onProgress?.(done / total, work.key);
      const predicted = rate > 0 ? work.flops / rate / 1000 : 0;
      let result: MeasuredWork;
      if (2 * predicted > limits.seconds)
        result = unmeasured(work, gpu, `one run would take ${predicted.toFixed(0)} s; measure with a smaller --size or fewer --frames`);
      else if (gpu.lost) result = unmeasured(work, gpu, "the device was lost before");
      else {
        try {
          result = await measureWork(gpu, work, { ...limits, without: onCpu ?? families.hopeless(work.node.op.name) });
          families.learn(result);
        } catch (error) {
          if (signal?.aborted) throw error;
          result = unmeasured(work, gpu, `${gpu.lost ? "the device was lost: " : ""}${(error as Error).message.split("\n")[0]}`);
          if (gpu.lost && reopen) own.push((gpu = await reopen()));
        }
      }
      for (const { ms } of result.candidates) if (ms !== undefined) rate = Math.max(rate, work.flops / ms);
      measured.push(result);
      onMeasured?.(result);
      done += work.candidates.length;
    }
  } finally {
    for (const opened of own) await opened[Symbol.asyncDispose]();
  }
  const choices = Object.fromEntries(measured.flatMap(({ key, chosen }) => (chosen === null ? [] : [[key, chosen] as const])));
  if (works.length && Object.keys(choices).length === 0)
    throw new CogwheelError(
      "tune",
      `some work must be measurable, got none of ${works.length} kinds: ${measured[0]!.why}; choose a smaller size`,
    );
  onProgress?.(1, "");
  const info = model.gpu.device.adapterInfo;
  return {
    made: new Date().toISOString(),
    seconds: (performance.now() - begun) / 1000,
    quick,
    runtime: runtime(),
    adapter: {
      name: model.gpu.name,
      vendor: info.vendor,
      architecture: info.architecture,
      device: info.device,
      description: info.description,
      features: [...model.gpu.device.features].sort(),
      limits: limitsOf(model.gpu.device),
    },
    capabilities: model.gpu.caps,
    model: {
      class: model.checkpoint.className,
      dtype: model.dtype,
      settings: { ...model.defaults, ...generation },
      configs: model.configs,
    },
    works: measured,
    table: { ...model.gpu.tuningHeader, choices },
  };
}

/**
 * What is known of kernels from the work before. A kernel for GPUs takes a CPU adapter's compiler seconds, and is then ten times as
 * slow: after two kinds of work in which all of its tiles took four times as long as the best, it is tried no more.
 */
class Families {
  readonly #ratios = new Map<string, Map<string, number[]>>();
  constructor(private readonly giveUp: boolean) {}

  learn({ op, candidates }: MeasuredWork): void {
    const timed = candidates.filter((c) => c.ms !== undefined);
    const best = Math.min(...timed.map((c) => c.ms!));
    const known = this.#ratios.get(op) ?? new Map<string, number[]>();
    this.#ratios.set(op, known);
    for (const family of new Set(timed.map((c) => familyOf(c.variant)))) {
      const own = Math.min(...timed.filter((c) => familyOf(c.variant) === family).map((c) => c.ms!));
      known.set(family, [...(known.get(family) ?? []), own / best]);
    }
  }

  hopeless(op: string): ReadonlyMap<string, string> {
    const out = new Map<string, string>();
    if (!this.giveUp) return out;
    for (const [family, ratios] of this.#ratios.get(op) ?? []) {
      const least = Math.min(...ratios);
      if (ratios.length >= 2 && least > 4)
        out.set(family, `${family} took at least ${least.toFixed(0)} times as long as the best in ${ratios.length} kinds of work before`);
    }
    return out;
  }
}

function unmeasured(work: Work, gpu: Gpu, why: string): MeasuredWork {
  return {
    ...described(work),
    candidates: work.candidates.map((variant) => ({ variant, runs: [] })),
    chosen: null,
    clock: gpu.caps.timestamps ? "gpu" : "host",
    why,
  };
}

function runtime(): string {
  const { process, navigator } = globalThis as { process?: { versions?: { node?: string } }; navigator?: { userAgent?: string } };
  return process?.versions?.node ? `Node ${process.versions.node}` : (navigator?.userAgent ?? "unknown");
}

function limitsOf(device: GPUDevice): Record<string, number> {
  const limits: Record<string, number> = {};
  for (const name in device.limits) {
    const value = (device.limits as unknown as Record<string, unknown>)[name];
    if (typeof value === "number") limits[name] = value;
  }
  return limits;
}
