/**
 * Measures the kernels that an adapter can run for one kind of work, on one node of a model: first whether a candidate computes what the
 * untuned choice does, then how long it takes, in turns, so that a clock that changes meets all alike.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Profile } from "../gpu/profile.ts";
import type { Node } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { Choice } from "../plan/choice.ts";
import { compile, type CompileOptions, type Plan } from "../plan/compile.ts";
import { Program, widen } from "../run/program.ts";
import { WeightStore } from "../run/weight-store.ts";
import { isolate } from "./isolate.ts";

/** One kind of work in a model, and a node that stands for it. */
export interface Work extends Choice {
  /** Where it is met: the stages. */
  readonly stages: readonly string[];
  /** Nodes with such a choice. */
  readonly nodes: number;
  readonly flops: number;
  readonly bytes: number;
  /** Different choices in the node that stands for it. */
  readonly kinds: number;
  /** How its weights are stored, as its plan was told. */
  readonly formats?: CompileOptions["formats"];
}

/** A kernel that could do some work, and how long it took. */
export interface MeasuredCandidate {
  readonly variant: string;
  /** Median milliseconds of a run; none where it was not measured. */
  readonly ms?: number;
  /** Every measurement, milliseconds of a run. */
  readonly runs: readonly number[];
  /** Relative L2 from the untuned choice's result. */
  readonly error?: number;
  /** Why there is no time. */
  readonly why?: string;
}

/** A kind of work of a generation, and the kernels that were measured for it. */
export interface MeasuredWork {
  readonly key: string;
  readonly op: string;
  readonly node: string;
  readonly stages: readonly string[];
  readonly nodes: number;
  /** Shapes of the node that was measured. */
  readonly shapes: string;
  readonly flops: number;
  readonly bytes: number;
  /** The choice by capability first. */
  readonly candidates: readonly MeasuredCandidate[];
  /** Null where nothing was measured: the choice stays by capability. */
  readonly chosen: string | null;
  /** How times were taken: on the GPU's clock, or on the host's around it. */
  readonly clock: "gpu" | "host";
  readonly why?: string;
}

export interface MeasureOptions {
  /** Rounds over the candidates. */
  readonly rounds: number;
  /** Milliseconds that one measurement takes at least, by repeating short work. */
  readonly batchMs: number;
  /** Seconds after which no other round is begun. */
  readonly seconds: number;
  /** Families of kernels of this op that are left out, with the reason. */
  readonly without?: ReadonlyMap<string, string>;
  readonly signal?: AbortSignal;
}

/** Another kernel must be so much faster than the untuned choice: within that, nothing is gained but another answer. */
const WORTH = 0.97;
/** A family of tiles whose first member takes so many times as long as the best is not looked at further. */
const HOPELESS = 2;
/** A candidate that takes so many times as long as the best is measured once. */
const FAR = 3;
/** What sums in another order may differ by. */
const TOLERANCE = { f32: 1e-5, f16: 5e-3 };
/**
 * Kernels that compute in fewer bits, by their families: what is lost then is what was chosen. Integers round each value of x to one of
 * 255 steps of its block of 32, which takes 0.4 to 0.9 % off a product.
 */
const TOLERANCE_OF: Readonly<Record<string, number>> = { dot_i8: 1e-2 };
/** Of large results only so many bytes at either end are compared. */
const COMPARED_BYTES = 16 << 20;
/** Work above this many milliseconds is submitted in the pieces that a run cuts it into. */
const LONG_MS = 50;

/** The plan of a node by itself with one of its choices made. */
function planOf(gpu: Gpu, work: Work, record: () => Plan["graph"], variant: string): Plan {
  return compile(record(), { ...gpu.caps, tuning: { [work.key]: variant } }, work.formats ? { formats: work.formats } : {});
}

interface Entry {
  readonly runs: number[];
  /** Milliseconds, as far as is known. */
  estimate: number;
  error?: number;
  why?: string;
  /** Of candidates that are right. */
  program?: Program;
}

export async function measureWork(gpu: Gpu, work: Work, options: MeasureOptions): Promise<MeasuredWork> {
  const { node } = work;
  const alone = isolate(node, work.formats);
  const candidates = new Map<string, Entry>();
  using store = new WeightStore(gpu, alone.weights);
  using profile = new Profile(gpu);
  const begun = performance.now();
  const spent = (): number => (performance.now() - begun) / 1000;
  const clock = gpu.caps.timestamps ? "gpu" : "host";

  const time = async (program: Program, predicted: number, count: number): Promise<number> => {
    if (predicted >= LONG_MS) {
      const from = profile.dispatches.length;
      const start = performance.now();
      await program.run(clock === "gpu" ? { profile, ...signalled(options) } : signalled(options));
      await gpu.pace.drain(options.signal);
      const wall = performance.now() - start;
      const ns = profile.dispatches.slice(from).reduce((sum, d) => sum + d.end - d.begin, 0);
      return clock === "gpu" && ns > 0 ? ns / 1e6 : wall;
    }
    return (await batch(gpu, program, count, 0.9 * predicted * count, clock, options.signal)) / count;
  };

  const programs: Program[] = [];
  try {
    let want: Float32Array[] | undefined;
    let first: Program | undefined;
    const families = new Map<string, number>();
    for (const variant of work.candidates) {
      options.signal?.throwIfAborted();
      const entry: Entry = { runs: [], estimate: Infinity };
      candidates.set(variant, entry);
      const family = familyOf(variant);
      const reason = family === familyOf(work.candidates[0]!) ? undefined : options.without?.get(family);
      if (reason) {
        entry.why = `not measured: ${reason}`;
        continue;
      }
      const best = Math.min(...[...candidates.values()].map((c) => c.estimate));
      const slow = families.get(family);
      if (slow !== undefined && slow > HOPELESS * best) {
        entry.why = `not measured: ${family} takes ${(slow / best).toFixed(1)} times as long as the best`;
        continue;
      }
      if (first && spent() > options.seconds) {
        entry.why = `not measured: ${options.seconds} s were over`;
        continue;
      }
      try {
        const plan = planOf(gpu, work, alone.record, variant);
        const program = await Program.create(
          gpu,
          plan,
          store,
          first ? { bind: boundInputs(first), ...signalled(options) } : signalled(options),
        );
        programs.push(program);
        if (!first) for (const [name, tensor] of plan.graph.inputs) program.write(name, alone.input(tensor));
        await gpu.scoped(`measuring ${variant}`, () => program.run(signalled(options)));
        await gpu.pace.drain(options.signal);
        const got = await results(gpu, program);
        if (want) {
          entry.error = distance(got, want);
          const dtype =
            Object.values(node.outputs).some((t: Tensor) => t.dtype === "f16") || Object.values(node.inputs).some((t) => t?.dtype === "f16")
              ? "f16"
              : "f32";
          const tolerance = TOLERANCE_OF[family] ?? TOLERANCE[dtype];
          if (!(entry.error <= tolerance)) {
            entry.why = `discarded: its result is ${entry.error.toExponential(1)} from the untuned choice's, more than ${tolerance}`;
            continue;
          }
        } else if (!got.every((data) => data.every(Number.isFinite)))
          throw new CogwheelError(
            "tune",
            `the untuned choice must give finite values, got others of ${variant} for ${work.key}; run \`cogwheel validate --sweep\``,
          );
        want ??= got;
        first ??= program;
        // The first run compiles in the driver; the next tell how often to repeat. A busy machine slows some of them.
        entry.estimate = await time(program, LONG_MS, 1);
        for (let i = 0; i < 2 && entry.estimate < LONG_MS; i++)
          entry.estimate = Math.min(entry.estimate, await time(program, entry.estimate, 1));
        entry.program = program;
        if (!families.has(family)) families.set(family, entry.estimate);
      } catch (error) {
        if (options.signal?.aborted || gpu.lost || (error instanceof CogwheelError && error.room === "tune")) throw error;
        if (!first) throw error;
        entry.why = `refused: ${(error as Error).message.split("\n")[0]}`;
      }
    }

    const ready = [...candidates.values()].filter((c) => c.program);
    const best = Math.min(...ready.map((c) => c.estimate));
    const rivals = ready.filter((c) => c === ready[0] || c.estimate <= FAR * best);
    for (const c of ready) if (!rivals.includes(c)) c.runs.push(c.estimate);
    for (let round = 0; round < options.rounds && (round === 0 || spent() < options.seconds); round++) {
      for (const c of round % 2 ? [...rivals].reverse() : rivals) {
        const count = Math.max(1, Math.min(256, Math.ceil(options.batchMs / c.estimate)));
        const ms = await time(c.program!, c.estimate, count);
        c.runs.push(ms);
        c.estimate = median(c.runs);
      }
    }
  } finally {
    for (const program of programs) program[Symbol.dispose]();
  }

  const measured: MeasuredCandidate[] = [...candidates].map(([variant, { runs, error, why }]) => ({
    variant,
    runs,
    ...(runs.length ? { ms: median(runs) } : {}),
    ...(error === undefined ? {} : { error }),
    ...(why === undefined ? {} : { why }),
  }));
  return { ...described(work), candidates: measured, chosen: fastest(measured), clock };
}

/** What is told of work, measured or not. */
export function described({ key, node, stages, nodes, flops, bytes }: Work): Omit<MeasuredWork, "candidates" | "chosen" | "clock"> {
  const show = (tensors: object): string =>
    Object.entries(tensors)
      .flatMap(([name, t]: [string, Tensor | undefined]) => (t ? [`${name} ${t.dtype} [${t.shape.join(", ")}]`] : []))
      .join("; ");
  return { key, op: node.op.name, node: node.name, stages, nodes, shapes: `${show(node.inputs)} → ${show(node.outputs)}`, flops, bytes };
}

/** The untuned choice, which comes first, unless another is faster by more than measurements vary. */
export function fastest(candidates: readonly MeasuredCandidate[]): string | null {
  const timed = candidates.filter((c) => c.ms !== undefined);
  if (timed.length === 0) return null;
  const best = timed.reduce((a, b) => (b.ms! < a.ms! ? b : a));
  const untuned = candidates[0]!;
  return untuned.ms !== undefined && best.ms! > WORTH * untuned.ms ? untuned.variant : best.variant;
}

/** The name that a label begins with: tiles of one kernel are a family. */
export const familyOf = (variant: string): string => variant.split(" ", 1)[0]!;

const signalled = ({ signal }: { signal?: AbortSignal }): { signal?: AbortSignal } => (signal ? { signal } : {});

function boundInputs(program: Program): Record<string, GPUBuffer> {
  return Object.fromEntries([...program.plan.graph.inputs.keys()].map((name) => [name, program.buffer(name)]));
}

/** Milliseconds of `count` runs in one pass. */
async function batch(
  gpu: Gpu,
  program: Program,
  count: number,
  predicted: number,
  clock: "gpu" | "host",
  signal?: AbortSignal,
): Promise<number> {
  const { device } = gpu;
  const queries = clock === "gpu" ? device.createQuerySet({ label: "tune", type: "timestamp", count: 2 }) : null;
  using resolved = queries ? gpu.buffer("tune", 16, GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC) : null;
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass(
    queries ? { timestampWrites: { querySet: queries, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } } : {},
  );
  for (let i = 0; i < count; i++) program.encode(pass);
  pass.end();
  if (queries) encoder.resolveQuerySet(queries, 0, 2, resolved!.buffer, 0);
  const start = performance.now();
  device.queue.submit([encoder.finish()]);
  await gpu.idle(predicted, signal);
  const wall = performance.now() - start;
  if (!resolved) return wall;
  const [begin, end] = new BigUint64Array(await gpu.read(resolved.buffer, 0, 16, signal));
  queries!.destroy();
  const ms = Number(end! - begin!) / 1e6;
  // A clock that stands still, or runs past what the host saw, is no clock.
  return ms > 0 && ms <= wall ? ms : wall;
}

/** Every output, of large ones both ends. */
async function results(gpu: Gpu, program: Program): Promise<Float32Array[]> {
  const out: Float32Array[] = [];
  for (const [name, tensor] of program.plan.graph.outputs) {
    if (tensor.bytes <= 2 * COMPARED_BYTES) out.push(await program.read(name));
    else
      for (const offset of [0, tensor.bytes - COMPARED_BYTES])
        out.push(widen(await gpu.read(program.buffer(name), offset, COMPARED_BYTES), tensor.dtype));
  }
  return out;
}

function distance(got: readonly Float32Array[], want: readonly Float32Array[]): number {
  let [squared, norm] = [0, 0];
  want.forEach((data, i) => {
    for (let j = 0; j < data.length; j++) {
      squared += (got[i]![j]! - data[j]!) ** 2;
      norm += data[j]! ** 2;
    }
  });
  return Math.sqrt(squared) / Math.max(Math.sqrt(norm), 1e-30);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The kinds of work of some plans, the smallest node of each. */
export function worksOf(plans: readonly { readonly stage: string; readonly plan: Plan }[]): Work[] {
  const works = new Map<string, Work>();
  for (const { stage, plan } of plans) {
    const perNode = new Map<Node, Choice[]>();
    for (const choice of plan.choices) perNode.set(choice.node, [...(perNode.get(choice.node) ?? []), choice]);
    for (const [node, choices] of perNode) {
      const { flops, bytes } = node.op.cost(node);
      const { formats } = plan.options;
      const own = { flops, bytes, ...(formats ? { formats } : {}) };
      const kinds = new Set(choices.map((c) => c.key)).size;
      for (const choice of new Map(choices.map((c) => [c.key, c])).values()) {
        const known = works.get(choice.key);
        const stages = [...new Set([...(known?.stages ?? []), stage])];
        const nodes = (known?.nodes ?? 0) + 1;
        // A node with one kind of work tells of it alone; the smallest takes the least time.
        const better = !known || kinds < known.kinds || (kinds === known.kinds && flops < known.flops);
        works.set(choice.key, better ? { ...choice, stages, nodes, ...own, kinds } : { ...known, stages, nodes });
      }
    }
  }
  return [...works.values()].sort((a, b) => a.flops - b.flops);
}
