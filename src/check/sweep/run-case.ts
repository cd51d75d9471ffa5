/**
 * Runs cases on an adapter: every kernel that an op can be lowered to is asked for by the capabilities under which the engine
 * chooses it, and the compiled plan must hold that kernel and no other in its place.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { usesImmediates } from "../../gpu/kernel.ts";
import { compile, type Plan } from "../../plan/compile.ts";
import { Graph } from "../../graph/graph.ts";
import { Arenas } from "../../run/arenas.ts";
import { Program } from "../../run/program.ts";
import { WeightStore } from "../../run/weight-store.ts";
import type { ListedKernel, OpCase, OpCases } from "./case.ts";
import { Draw, type Precision } from "./draw.ts";

/** A case with the plan by which one kernel of its list computes it. */
export interface PlannedCase {
  readonly list: OpCases;
  readonly c: OpCase;
  readonly plan: Plan;
  readonly draw: Draw;
  /** Labels of the asked-for kernel's specialisations in the plan. */
  readonly labels: readonly string[];
}

/**
 * Records and compiles a case under the capabilities that choose a kernel; throws where the engine chooses another.
 * @param Drawer the class that draws it
 */
export function planCase(
  list: OpCases,
  c: OpCase,
  choice: ListedKernel,
  precision: Precision,
  caps: Capabilities,
  Drawer: typeof Draw = Draw,
): PlannedCase {
  const graph = new Graph(`${list.op} ${c.name}`);
  const draw = new Drawer(graph, precision, c.half);
  for (const [name, tensor] of Object.entries(c.record(draw))) graph.output(name, tensor);
  const plan = casePlan(graph, draw, c, { ...caps, ...choice.when, ...c.limits });
  const labels = [...new Set(plan.steps.filter((s) => s.dispatch.kernel.name === choice.kernel.name).map((s) => s.label))];
  if (labels.length === 0) {
    throw new CogwheelError(
      "sweep",
      `the engine must choose ${choice.kernel.name} for ${list.op} ${c.name}, ` +
        `got ${[...new Set(plan.steps.map((s) => s.label))].join(", ")}; correct the case's kernels or the op's chooser`,
    );
  }
  return { list, c, plan, draw, labels };
}

/** The plan of a case that was recorded: where it names a candidate, the one that is made when a table of measurements does. */
export function casePlan(graph: Graph, { formats }: Pick<Draw, "formats">, { variant }: Pick<OpCase, "variant">, caps: Capabilities): Plan {
  const plan = compile(graph, caps, { formats });
  if (variant === undefined) return plan;
  const tuning = plan.choices.filter(({ candidates }) => candidates.includes(variant)).map(({ key }) => [key, variant] as const);
  return compile(graph, { ...caps, tuning: Object.fromEntries(tuning) }, { formats });
}

export interface Measured {
  readonly output: string;
  /** Relative L2; Infinity where a value is not finite. */
  readonly error: number;
  /** The largest error that passes. */
  readonly tolerance: number;
  readonly failed: boolean;
  /** Where it is worst, and what is there. */
  readonly worst: { readonly at: readonly number[]; readonly got: number; readonly want: number };
}

/** Runs a planned case and compares every output with the reference. */
export async function measureCase(gpu: Gpu, planned: PlannedCase): Promise<Measured[]> {
  const { list, c, plan, draw } = planned;
  const got = await runCase(gpu, planned);
  const want = c.reference(draw.values);
  return [...plan.graph.outputs].map(([name, { shape, dtype }]) => {
    if (!want[name])
      throw new CogwheelError("sweep", `the reference of ${plan.graph.name} must give every output, got none for "${name}"; add it`);
    // By how the output is stored: a result in f32 is held to f32's tolerance, whatever its inputs were stored as.
    return compared(name, got[name]!, want[name], shape, (c.tolerance ?? list.tolerance)[dtype === "f16" ? "f16" : "f32"]);
  });
}

/** Every bit set: not a number, in f32 and in f16. */
const GARBAGE = 0xffffffff;

/**
 * Every output of a planned case. All memory that the run may use holds `garbage` before it, as arenas hold what was computed before: an
 * element that no dispatch writes, or one that is read and should not be, shows.
 */
export async function runCase(gpu: Gpu, { plan, draw }: PlannedCase, garbage = GARBAGE): Promise<Record<string, Float32Array>> {
  draw.fill();
  using store = new WeightStore(gpu, draw.provider);
  using arenas = new Arenas(gpu, [plan]);
  using program = await Program.create(gpu, plan, store, { arenas });
  const io = [...plan.graph.inputs.keys(), ...plan.graph.outputs.keys()].map((name) => program.buffer(name));
  for (const buffer of [...plan.memory.arenas.map((_, i) => arenas.buffer(i)), ...io])
    gpu.device.queue.writeBuffer(buffer, 0, new Uint32Array(buffer.size / 4).fill(garbage));
  await gpu.scoped(plan.graph.name, () => program.run({ inputs: draw.inputs }));
  const out: Record<string, Float32Array> = {};
  for (const name of plan.graph.outputs.keys()) out[name] = await program.read(name);
  return out;
}

function compared(output: string, got: Float32Array, want: ArrayLike<number>, shape: readonly number[], tolerance: number): Measured {
  if (got.length !== want.length)
    throw new CogwheelError("sweep", `the reference of "${output}" must have ${got.length} values, got ${want.length}; correct it`);
  let [squares, norm, worst] = [0, 0, 0];
  let finite = true;
  for (let i = 0; i < got.length; i++) {
    const d = Math.abs(got[i]! - want[i]!);
    if (!Number.isFinite(d)) {
      if (finite) worst = i;
      finite = false;
    }
    if (finite && d > Math.abs(got[worst]! - want[worst]!)) worst = i;
    squares += d * d;
    norm += want[i]! ** 2;
  }
  const at: number[] = [];
  for (let rest = worst, axis = shape.length - 1; axis >= 0; axis--) {
    at.unshift(rest % shape[axis]!);
    rest = Math.floor(rest / shape[axis]!);
  }
  const error = finite ? Math.sqrt(squares / (norm || 1)) : Infinity;
  return { output, error, tolerance, failed: !(error <= tolerance), worst: { at, got: got[worst]!, want: want[worst]! } };
}

/** A line about the worst value, for whoever has to find the mistake. */
export const describeWorst = ({ output, error, tolerance, worst }: Measured): string =>
  `${output}: relative L2 ${error.toExponential(2)}, worst at [${worst.at.join(", ")}]: ` +
  `got ${worst.got.toPrecision(7)}, expected ${worst.want.toPrecision(7)} (tolerance ${tolerance})`;

/** What makes two plans the same work on the adapter: kernels, grids, and how parameters travel. */
export const workOf = ({ plan }: PlannedCase): string =>
  plan.steps
    .map(
      (s) =>
        `${s.label} ${s.dispatch.grid.join("×")} ${usesImmediates(s.dispatch.kernel, plan.caps.immediates)} ` +
        `${JSON.stringify(s.dispatch.params)}`,
    )
    .join("\n");
