/** `cogwheel validate --sweep`: every kernel that the engine can choose on this adapter, against float64, as a matrix. */
import { CogwheelError } from "../base/errors.ts";
import { visibleJson } from "../base/visible.ts";
import { Gpu } from "../gpu/gpu.ts";
import { PRECISIONS, SIZES, type Cell } from "../check/sweep/matrix.ts";
import { sweep, type SweepReport } from "../check/sweep/sweep.ts";
import { writeOut } from "./terminal/output.ts";
import { Progress } from "./terminal/progress.ts";
import { table } from "./terminal/table.ts";

export interface SweepCommandOptions {
  /** Only ops and kernels whose name contains this. */
  filter?: string;
  /** Print one JSON object in place of the matrix. */
  json?: boolean;
  /** An adapter by name. Default: the fastest there is. */
  adapter?: string;
  signal?: AbortSignal;
  /** Where the report goes. Default: standard output. */
  write?: (text: string) => void;
}

/** Resolves to the exit code: 0 when every result is within its tolerance and nothing was left out, else 1. */
export async function sweepKernels({ filter, json = false, adapter, signal, write = writeOut }: SweepCommandOptions = {}): Promise<number> {
  // Every kernel is run, whatever was measured to be fastest.
  const named = { tuning: false as const, ...(adapter === undefined ? {} : { adapter }) };
  await using gpu = await Gpu.open(named);
  await using uniforms = gpu.caps.immediates ? await Gpu.open({ ...named, capabilities: { immediates: false } }) : undefined;
  using progress = new Progress();
  const report = await sweep(gpu, uniforms ?? null, {
    ...(filter === undefined ? {} : { filter }),
    ...(signal ? { signal } : {}),
    ...(process.stderr.isTTY ? { onProgress: (done: number, what: string) => progress.report("sweep", done, what) } : {}),
  });
  progress[Symbol.dispose]();
  if (report.rows.length === 0 && Object.keys(report.needs).length === 0)
    throw new CogwheelError(
      "validate",
      `--sweep takes a part of an op's or a kernel's name, got ${JSON.stringify(filter)}; leave it out to run all`,
    );
  if (json) write(`${visibleJson({ adapter: gpu.name, capabilities: gpu.caps, ...report }, 2)}\n`);
  else write(`${gpu.name}\n\n${matrix(report)}\n${summary(report)}`);
  return report.problems.length === 0 ? 0 : 1;
}

/** A row a specialisation, a column a storage type and size. */
function matrix({ rows, needs }: SweepReport): string {
  const heads = PRECISIONS.flatMap((precision) => SIZES.map((size) => `${precision} ${size}`));
  const ran = rows.map((row) => [
    `${row.label}${row.params === "uniform" ? ", params in a uniform" : ""}`,
    ...PRECISIONS.flatMap((precision) => SIZES.map((size) => cellOf(row.cells[precision]?.[size]))),
  ]);
  const missing = Object.entries(needs)
    .filter(([kernel]) => kernel !== "f16")
    .map(([kernel, what]) => [kernel, `needs ${what}`]);
  return table(["kernel", ...heads], [...ran, ...missing]);
}

const figure = (v: number): string => (v === 0 ? "0" : v.toExponential(1));
const cellOf = (cell: Cell | undefined): string =>
  cell ? `${cell.failed ? "FAIL " : ""}${figure(cell.error)} of ${figure(cell.tolerance)}` : "–";

function summary({ rows, needs, problems, cases }: SweepReport): string {
  const lines = [
    `${rows.length} specialisations, ${cases} runs. ` +
      `A cell is the relative L2 of the case that uses most of its tolerance, "of" that tolerance.`,
  ];
  if (needs["f16"]) lines.push(`f16 storage was not run: it needs ${needs["f16"]}.`);
  for (const problem of problems) lines.push(`FAIL ${problem}`);
  lines.push(problems.length ? `${problems.length} problems` : "no problems");
  return `${lines.join("\n")}\n`;
}
