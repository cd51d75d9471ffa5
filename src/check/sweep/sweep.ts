/**
 * The sweep: every specialisation of every kernel that the engine can choose on an adapter, against float64. What it runs follows from the
 * case lists. Whether that is all follows from the kernels in the build and from the plans of the published models (`coverage.ts`), so that
 * a kernel or a tile that someone adds and nobody tests is a problem of the report.
 */
import { allCases } from "#sweep-cases";
import type { Gpu } from "../../gpu/gpu.ts";
import { usesImmediates } from "../../gpu/kernel.ts";
import type { ListedKernel, OpCase, OpCases, Size } from "./case.ts";
import { kernelsWithoutCases, unsweptKernels } from "./coverage.ts";
import type { Precision } from "./draw.ts";
import { Matrix, PRECISIONS, SIZES, type SweepRow } from "./matrix.ts";
import { describeWorst, measureCase, planCase, workOf, type Measured } from "./run-case.ts";

export interface SweepReport {
  readonly rows: readonly SweepRow[];
  /** What the adapter lacks, by kernel, or `f16` for the storage type. */
  readonly needs: Readonly<Record<string, string>>;
  /** What is wrong, a line each; the sweep failed when there is one. */
  readonly problems: readonly string[];
  readonly cases: number;
}

export interface SweepOptions {
  /** Only ops and kernels whose name contains this. Then nothing is said of what is missing. */
  filter?: string;
  /** Default: all. */
  sizes?: readonly Size[];
  signal?: AbortSignal;
  onProgress?: (done: number, what: string) => void;
  /** Default: the project's. */
  lists?: readonly OpCases[];
}

/**
 * @param gpu the adapter, with its own capabilities
 * @param uniforms the same adapter, opened without immediates, where it has them
 */
export async function sweep(gpu: Gpu, uniforms: Gpu | null, options: SweepOptions = {}): Promise<SweepReport> {
  const { filter, sizes = SIZES, signal, onProgress, lists = allCases } = options;
  const runs = new Runs(gpu.caps.f16 ? {} : { f16: "shader-f16" }, signal);
  const work = lists.flatMap((list) => {
    const kernels = list.kernels.filter(({ kernel }) => filter === undefined || list.op.includes(filter) || kernel.name.includes(filter));
    return list.cases.filter((c) => kernels.length > 0 && sizes.includes(c.size)).map((c) => ({ list, c, kernels }));
  });
  for (const [at, { list, c, kernels }] of work.entries()) {
    onProgress?.(at / work.length, `${list.op} ${c.name}`);
    for (const precision of PRECISIONS) {
      if (precision === "f16" && (!gpu.caps.f16 || c.half?.length === 0)) continue;
      const able = runs.able(kernels, c, precision, gpu);
      await runs.run(gpu, list, c, able, precision);
      // Parameters in a uniform are one more way in, not another kernel: the smallest cases tell.
      if (uniforms && list.cases.find((other) => other.size === c.size) === c)
        await runs.run(
          uniforms,
          list,
          c,
          able.filter(({ kernel }) => usesImmediates(kernel, true)),
          precision,
        );
    }
  }
  const { matrix, needs, problems } = runs;
  if (filter === undefined && sizes.length === SIZES.length) {
    for (const name of kernelsWithoutCases(lists))
      problems.add(`${name}: in the build, and no case runs it; add it to a list in src/check/sweep/cases`);
    const ran = new Set(matrix.rows.map(({ kernel }) => kernel));
    for (const { kernel } of lists.flatMap((list) => list.kernels))
      if (!needs[kernel.name] && !ran.has(kernel.name)) problems.add(`${kernel.name}: listed, and no case took it; correct its case list`);
    onProgress?.(0.99, "planning the published models");
    for (const { label, node } of unsweptKernels(gpu.caps, matrix.labels))
      problems.add(`${label}: a published model takes it (${node}), and no case ran it; add one to src/check/sweep/cases`);
  }
  return { rows: matrix.rows, needs, problems: [...problems], cases: runs.count };
}

/** What ran so far, and what came of it. */
class Runs {
  readonly matrix = new Matrix();
  readonly problems = new Set<string>();
  count = 0;
  /** Cases that differ only in what is f16 with f16 storage, told in brackets, are one in f32. */
  readonly #ranInF32 = new Set<string>();

  constructor(
    readonly needs: Record<string, string>,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** The kernels that the adapter has what they need for, and that take the case. */
  able(kernels: readonly ListedKernel[], c: OpCase, precision: Precision, { caps }: Gpu): ListedKernel[] {
    return kernels.filter(({ kernel, needs, takes }) => {
      const lacking = needs?.(caps);
      if (lacking !== undefined) this.needs[kernel.name] = lacking;
      return lacking === undefined && (!takes || takes(c, caps, precision));
    });
  }

  /** Runs a case by each of the kernels; by those whose plans are the same work, once. */
  async run(device: Gpu, list: OpCases, c: OpCase, kernels: readonly ListedKernel[], precision: Precision): Promise<void> {
    const done = new Map<string, { results: readonly Measured[]; told: Set<string> }>();
    for (const choice of kernels) {
      this.signal?.throwIfAborted();
      const { kernel } = choice;
      try {
        const planned = planCase(list, c, choice, precision, device.caps);
        const work = workOf(planned);
        let found = done.get(work);
        if (!found) {
          if (precision === "f32" && this.#again(device, c, work)) continue;
          found = { results: await measureCase(device, planned), told: new Set() };
          done.set(work, found);
          this.count++;
          for (const m of found.results)
            if (m.failed) this.problems.add(`${list.op} ${c.name}, ${precision}, ${planned.labels.join(" + ")}: ${describeWorst(m)}`);
        }
        const params = usesImmediates(kernel, device.caps.immediates) ? "immediates" : "uniform";
        for (const label of planned.labels.filter((one) => !found.told.has(one))) {
          found.told.add(label);
          this.matrix.add({ op: list.op, kernel: kernel.name, label, params }, precision, c.size, found.results);
        }
      } catch (error) {
        device.assertAlive();
        this.problems.add(`${list.op} ${c.name}, ${precision}, ${kernel.name}: ${(error as Error).message}`);
      }
    }
  }

  /** Did the work run in f32, for this case or for one that is the same there? */
  #again({ caps }: Gpu, c: OpCase, work: string): boolean {
    const key = `${caps.immediates} ${c.size} ${c.name.replace(/ \([a-z]*\)/, "")}\n${work}`;
    const again = this.#ranInF32.has(key);
    this.#ranInF32.add(key);
    return again;
  }
}
