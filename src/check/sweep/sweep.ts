/**
 * The sweep: every specialisation of every kernel that the engine can choose on an adapter, against float64. What it runs
 * follows from the case lists; whether that is all follows from the kernels in the build and from the plans of the published
 * models, so that a kernel or a tile that someone adds is missed aloud.
 */
import { allKernels } from "#kernels";
import type { Gpu } from "../../gpu/gpu.ts";
import { usesImmediates } from "../../gpu/kernel.ts";
import type { ListedKernel, OpCase, OpCases, Size } from "./case.ts";
import type { Precision } from "./draw.ts";
import { allCases } from "#sweep-cases";
import { publishedKernels } from "./published.ts";
import { describeWorst, measureCase, planCase, withoutTypes, workOf, type Measured, type PlannedCase } from "./run.ts";

export const SIZES: readonly Size[] = ["tiny", "odd", "model"];
export const PRECISIONS: readonly Precision[] = ["f32", "f16"];

/** The worst of the cases of one size and storage type. */
export interface Cell {
  cases: number;
  /** Relative L2 of the case that uses most of its tolerance, and that tolerance. */
  error: number;
  tolerance: number;
  failed: boolean;
}

/** A specialisation, whatever its element types; its cells are missing where no case has that size or type. */
export interface SweepRow {
  readonly op: string;
  readonly kernel: string;
  readonly label: string;
  readonly params: "immediates" | "uniform";
  readonly cells: Partial<Record<Precision, Partial<Record<Size, Cell>>>>;
}

export interface SweepReport {
  readonly rows: readonly SweepRow[];
  /** What the adapter lacks, by kernel, or `f16` for the storage type. */
  readonly needs: Readonly<Record<string, string>>;
  /** What is wrong, a line each; the sweep failed when there is one. */
  readonly problems: readonly string[];
  readonly cases: number;
}

export interface SweepOptions {
  /** Only ops, kernels or labels that contain this. Then nothing is said of what is missing. */
  filter?: string;
  /** Default: all. */
  sizes?: readonly Size[];
  signal?: AbortSignal;
  onProgress?: (done: number, what: string) => void;
  /** Default: the project's. */
  lists?: readonly OpCases[];
}

/** Kernels that no op is lowered to. */
const OTHER_FAMILIES = new Set(["bench", "debug"]);

/** Kernels in the build that no case list runs. */
export function kernelsWithoutCases(lists: readonly OpCases[] = allCases): string[] {
  const listed = new Set(lists.flatMap((list) => list.kernels.map((k) => k.kernel.name)));
  return allKernels.filter((k) => !OTHER_FAMILIES.has(k.family) && !listed.has(k.name)).map((k) => k.name);
}

/**
 * @param gpu the adapter, with its own capabilities
 * @param uniforms the same adapter, opened without immediates, where it has them
 */
export async function sweep(gpu: Gpu, uniforms: Gpu | null, options: SweepOptions = {}): Promise<SweepReport> {
  const { filter, sizes = SIZES, signal, onProgress, lists = allCases } = options;
  const rows = new Map<string, SweepRow>();
  const swept = new Set<string>();
  const needs: Record<string, string> = gpu.caps.f16 ? {} : { f16: "shader-f16" };
  const problems: string[] = [];
  const wanted = (list: OpCases, choice: ListedKernel) =>
    filter === undefined || list.op.includes(filter) || choice.kernel.name.includes(filter);
  const work = lists.flatMap((list) =>
    list.cases.filter((c) => sizes.includes(c.size) && list.kernels.some((k) => wanted(list, k))).map((c) => ({ list, c })),
  );
  /** What ran in f32: cases that differ only in what is f16 with f16 storage, told in brackets, are one there. */
  const ranInF32 = new Set<string>();
  let ran = 0;

  const record = (
    list: OpCases,
    c: OpCase,
    precision: Precision,
    kernel: string,
    label: string,
    params: SweepRow["params"],
    results: readonly Measured[],
    planned: PlannedCase,
  ) => {
    swept.add(label);
    const short = withoutTypes(label);
    // A kernel that several lists run, as that which packs operands, is one row, under the first of them.
    const key = `${short} ${params}`;
    const row = rows.get(key) ?? { op: list.op, kernel, label: short, params, cells: {} };
    rows.set(key, row);
    const cells = (row.cells[precision] ??= {});
    const cell = (cells[c.size] ??= { cases: 0, error: 0, tolerance: 0, failed: false });
    cell.cases++;
    for (const m of results) {
      const tolerance = toleranceOf(list, c, planned, m.output);
      const failed = !(m.error <= tolerance);
      if (cell.tolerance === 0 || failed || m.error / tolerance > cell.error / cell.tolerance)
        Object.assign(cell, { error: m.error, tolerance });
      cell.failed ||= failed;
    }
  };

  for (const [at, { list, c }] of work.entries()) {
    onProgress?.(at / work.length, `${list.op} ${c.name}`);
    for (const precision of PRECISIONS) {
      if (precision === "f16" && (!gpu.caps.f16 || c.half?.length === 0)) continue;
      const first = list.cases.find((other) => other.size === c.size) === c;
      for (const [device, params] of [
        [gpu, "immediates"],
        [uniforms, "uniform"],
      ] as const) {
        // Parameters in a uniform are one more way in, not another kernel: the smallest cases tell.
        if (!device || (params === "uniform" && !first)) continue;
        const done = new Map<string, { results: readonly Measured[]; planned: PlannedCase; labels: Set<string> }>();
        for (const choice of list.kernels) {
          signal?.throwIfAborted();
          if (!wanted(list, choice)) continue;
          const lacking = choice.needs?.(gpu.caps);
          if (lacking !== undefined) {
            needs[choice.kernel.name] = lacking;
            continue;
          }
          if (choice.takes && !choice.takes(c, gpu.caps, precision)) continue;
          const travels = usesImmediates(choice.kernel, device.caps.immediates) ? "immediates" : "uniform";
          if (params === "uniform" && !usesImmediates(choice.kernel, true)) continue;
          try {
            const planned = planCase(list, c, choice, precision, device.caps);
            const same = workOf(planned);
            const once = `${params} ${c.size} ${c.name.replace(/ \([a-z]*\)/, "")}\n${same}`;
            if (precision === "f32" && !done.has(same)) {
              if (ranInF32.has(once)) continue;
              ranInF32.add(once);
            }
            const found = done.get(same) ?? { results: await measureCase(device, c, planned), planned, labels: new Set<string>() };
            if (!done.has(same)) {
              ran++;
              for (const m of found.results) {
                const tolerance = toleranceOf(list, c, planned, m.output);
                if (!(m.error <= tolerance))
                  problems.push(
                    `${list.op} ${c.name}, ${precision}, ${planned.labels.join(" + ")}: ${describeWorst(m)} (tolerance ${tolerance})`,
                  );
              }
            }
            done.set(same, found);
            for (const label of planned.labels)
              if (!found.labels.has(label)) record(list, c, precision, choice.kernel.name, label, travels, found.results, planned);
            for (const label of planned.labels) found.labels.add(label);
          } catch (error) {
            device.assertAlive();
            problems.push(`${list.op} ${c.name}, ${precision}, ${choice.kernel.name}: ${(error as Error).message}`);
          }
        }
      }
    }
  }

  if (filter === undefined && sizes.length === SIZES.length) {
    for (const name of kernelsWithoutCases(lists))
      problems.push(`${name}: in the build, and no case runs it; add it to a list in src/check/sweep/cases`);
    for (const name of lists.flatMap((l) => l.kernels.map((k) => k.kernel.name))) {
      if (!needs[name] && ![...rows.values()].some((row) => row.kernel === name))
        problems.push(`${name}: listed, and no case took it; correct its case list`);
    }
    onProgress?.(0.99, "planning the published models");
    problems.push(
      ...unsweptKernels(gpu, swept).map(
        ({ label, node }) => `${label}: a published model takes it (${node}), and no case ran it; add one to src/check/sweep/cases`,
      ),
    );
  }
  return { rows: [...rows.values()], needs, problems: [...new Set(problems)], cases: ran };
}

/** What published models are lowered to on this adapter, with the kernels for GPUs and those for CPUs, and nothing ran. */
export function unsweptKernels(gpu: Pick<Gpu, "caps">, swept: ReadonlySet<string>): { label: string; node: string }[] {
  const missing = new Map<string, string>();
  for (const kind of ["hardware", "software"] as const) {
    for (const [label, node] of publishedKernels({ ...gpu.caps, kind })) if (!swept.has(label)) missing.set(label, node);
  }
  return [...missing].map(([label, node]) => ({ label, node }));
}

/** By how the output is stored: a result in f32 is held to f32's tolerance, whatever its inputs were stored as. */
export function toleranceOf(list: OpCases, c: OpCase, { plan }: PlannedCase, output: string): number {
  return (c.tolerance ?? list.tolerance)[plan.graph.outputs.get(output)!.dtype === "f16" ? "f16" : "f32"];
}
