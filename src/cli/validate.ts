/** `cogwheel validate`: runs reference cases and says how far the engine is from the reference. */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { folderSource } from "../sources/folder.ts";
import { CogwheelError } from "../base/errors.ts";
import { shortenedLines, visible, visibleJson } from "../base/visible.ts";
import { Gpu } from "../gpu/gpu.ts";
import { readCase } from "../check/reference/case.ts";
import { limitOf, type Comparison } from "../check/reference/compare.ts";
import { runCase, type CaseResult, type CaseVerdict } from "../check/reference/run.ts";
import { checkOutputFile, writeWhole } from "./files.ts";
import { packageRoot } from "./package-root.ts";
import { systemWords } from "../platform/system-error.ts";
import { writeOut } from "./terminal/output.ts";
import { Progress } from "./terminal/progress.ts";
import { table } from "./terminal/table.ts";
import type { Validated, ValidateReport } from "./validate-report.ts";

export interface ValidateOptions {
  /** Print one JSON object in place of the table. */
  json?: boolean;
  /** Storage type of weights and activations. Default f32. */
  dtype?: "f32" | "f16";
  /** An adapter by name. Default: the fastest there is. */
  adapter?: string;
  /** Kernels for GPUs or for CPU adapters, whichever the adapter is. Default: those that the engine would choose. */
  kernels?: "gpu" | "cpu";
  /** Only cases whose module or name contains this. */
  only?: string;
  /** Name the first node that makes a NaN or an infinity. */
  checkFinite?: boolean;
  /** Compare every intermediate that a case records, and name the first that departs. */
  trace?: boolean;
  /** Where a page of it goes, to look at. */
  report?: string;
  signal?: AbortSignal;
  /** Where the report goes. Default: standard output. */
  write?: (text: string) => void;
}

/** Runs every case in `paths` (files, or folders with all below them), and tells what they came to. */
export async function runCases(
  gpu: Gpu,
  paths: readonly string[],
  options: Omit<ValidateOptions, "json" | "adapter" | "kernels" | "report" | "write"> = {},
  page?: ValidateReport,
): Promise<Validated> {
  const { dtype = "f32", only, signal } = options;
  const files: CaseFile[] = [];
  for (const path of paths) files.push(...(await filesOf(path)));
  if (dtype === "f16" && !gpu.caps.f16)
    throw new CogwheelError(
      "validate",
      `--dtype f16 needs an adapter with shader-f16, got ${gpu.name}; leave it out or name another adapter`,
    );
  using progress = new Progress();
  const cases: CaseResult[] = [];
  for (const [i, file] of files.entries()) {
    signal?.throwIfAborted();
    if (process.stderr.isTTY) progress.report("validate", i / files.length, file.name);
    const result = await runFile(gpu, file, options, page);
    if (result) cases.push(result);
  }
  if (cases.length === 0) {
    throw new CogwheelError(
      "validate",
      "there must be a case to run, " +
        `got ${only === undefined ? "no .safetensors file" : `none whose module or name contains ${JSON.stringify(only)}`} ` +
        `in ${paths.join(", ")}; check the path`,
    );
  }
  const count = (verdict: CaseVerdict): number => cases.filter((r) => r.verdict === verdict).length;
  const summary = { pass: count("pass"), fail: count("fail"), unsupported: count("unsupported"), cannotBeRun: count("cannot be run") };
  return { adapter: gpu.name, dtype, summary, cases };
}

/** Cases that come with the package: small ones, one at least of each module. */
export const PACKAGED_CASES = join(packageRoot, "dist", "cases");

/** Runs every case in `paths` (none: those that come with the package), and says so. Resolves to the exit code: 0 when all pass, else 1. */
export async function validateCases(paths: string[], options: ValidateOptions = {}): Promise<number> {
  const { json = false, write = writeOut } = options;
  await using gpu = await Gpu.open({
    ...(options.adapter === undefined ? {} : { adapter: options.adapter }),
    ...(options.kernels === undefined
      ? {}
      : { capabilities: { kind: options.kernels === "gpu" ? ("hardware" as const) : ("software" as const) } }),
  });
  const { report } = options;
  if (report !== undefined) await checkOutputFile(report, "--report");
  const page = report === undefined ? undefined : new (await import("./validate-report.ts")).ValidateReport();
  const validated = await runCases(gpu, paths.length ? paths : [PACKAGED_CASES], options, page);
  if (page) await writeWhole(report!, new TextEncoder().encode(await page.page(validated)), "--report");
  const { dtype, summary, cases: results } = validated;
  if (json) write(`${visibleJson(validated, 2)}\n`);
  else {
    write(
      `${gpu.name}, ` +
        `${dtype}\n\n${table(["case", "module", "output", "max abs", "relative L2", "cosine", "verdict"], results.flatMap(rowsOf))}`,
    );
    if (options.trace) for (const result of results) if (!result.error) write(`\n${traceReport(result)}`);
    for (const { name, verdict, error } of results) if (error) write(`\n${visible(name)}: ${verdict}: ${shortenedLines(error)}\n`);
    write(
      `\n${results.length} case${results.length === 1 ? "" : "s"}: ${summary.pass} pass, ${summary.fail} fail, ` +
        `${summary.unsupported} unsupported, ${summary.cannotBeRun} cannot be run\n`,
    );
  }
  return summary.pass === results.length && results.every((r) => !r.trace?.first) ? 0 : 1;
}

interface CaseFile {
  readonly path: string;
  readonly name: string;
  /** Why the path holds no case. */
  readonly error?: string;
}

async function filesOf(path: string): Promise<CaseFile[]> {
  const info = await stat(path).catch((error: unknown) => systemWords(error));
  if (typeof info === "string") return [{ path, name: path, error: `[validate] a path must be readable, got ${info}; check it` }];
  if (!info.isDirectory()) return [{ path, name: stem(basename(path)) }];
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(".safetensors"))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((file) => ({ path: file, name: stem(relative(path, file).replaceAll("\\", "/")) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

const stem = (path: string): string => path.replace(/\.safetensors$/, "");

/** One case's result; null when `only` leaves it out. What is wrong with the file stays with the file. */
async function runFile(
  gpu: Gpu,
  { path, name, error }: CaseFile,
  { dtype = "f32", only, checkFinite = false, trace = false }: ValidateOptions,
  page?: ValidateReport,
): Promise<CaseResult | null> {
  const broken = (why: string): CaseResult => ({ name, module: null, verdict: "cannot be run", outputs: [], error: why });
  if (error) return broken(error);
  let read: Awaited<ReturnType<typeof readCase>>;
  try {
    await using source = await folderSource(dirname(path));
    read = await readCase({ source, path: basename(path) }, name, { trace });
  } catch (thrown) {
    return broken((thrown as Error).message);
  }
  if (only !== undefined && !read.module.includes(only) && !name.includes(only)) return null;
  const result = await runCase(gpu, read, { dtype, checkFinite, trace, ...(page ? { onOutput: page.onOutput } : {}) });
  page?.judged(read, result);
  return result;
}

const figure = (v: number | null): string => (v === null || Number.isNaN(v) ? "–" : v === 0 ? "0" : v.toExponential(2));

/** What was seen on the way to a case's outputs: every intermediate and the first that departs, or every step of a pipeline. */
function traceReport({ name, trace, steps }: CaseResult): string {
  const judged = (c: Comparison) => [
    figure(c.maxAbs),
    figure(c.relativeL2),
    c.verdict === "pass" ? "pass" : `FAIL (${c.note ?? `${c.measure} ≤ ${c.threshold}`})`,
  ];
  const heads = ["max abs", "relative L2", "verdict"];
  if (steps) {
    const first = steps.find((s) => s.verdict === "fail");
    const rows = steps.map((s) => [String(s.step), s.output.replace(/^step\./, ""), ...judged(s)]);
    return (
      `${name}: each step, begun from the reference's state before it\n\n${table(["step", "of it", ...heads], rows)}\n${name}: ` +
      `${first ? `first departs in step ${first.step} (${first.output}), ${departure(first)}` : "no step departs"}\n`
    );
  }
  if (!trace || trace.rows.length === 0)
    return (
      `${name}: nothing to trace: the case records no intermediates of a module that can be followed; ` +
      `make it with \`npm run reference -- --trace\`\n`
    );
  const calls = trace.rows.some((row) => row.call > 0);
  const rows = trace.rows.map((row) => [
    ...(calls ? [String(row.call)] : []),
    row.module,
    row.what ?? "",
    row.node,
    ...judged({ ...row, output: row.module }),
  ]);
  const { first } = trace;
  const list = (label: string, names: readonly string[]) =>
    names.length ? `${label}: ${[...new Set(names.map((n) => n.replace(/(?<=\.)\d+(?=\.)|#\d+$/g, "*")))].join(", ")}\n` : "";
  return [
    `${name}: ${trace.rows.length} intermediates, in the order of execution\n\n`,
    table([...(calls ? ["call"] : []), "reference's module", "of it", "node", ...heads], rows),
    "\n",
    list("nodes without a counterpart", trace.unmatchedNodes),
    list("modules without a node of their own (they hold others, or are fused into them)", trace.unmatchedModules),
    `${name}: ` +
      `${
        first
          ? `first departs at ${first.module}${first.what ? ` (${first.what})` : ""}${calls ? `, call ${first.call}` : ""}, ` +
            `node ${first.node}, ${departure({ ...first, output: first.module })}`
          : "no intermediate departs"
      }\n`,
  ].join("");
}

function departure(c: Comparison): string {
  const where = c.worst ? `; largest difference at [${c.worst.at.join(", ")}]: got ${c.worst.got}, expected ${c.worst.want}` : "";
  return c.note ?? `relative L2 ${figure(c.relativeL2)} where ${c.threshold} is allowed${where}`;
}

/** The rows of one case, one an output; why there are none is told below the table. */
function rowsOf({ name, module, verdict, outputs }: CaseResult): string[][] {
  if (outputs.length === 0) return [[name, module ?? "–", "–", "–", "–", "–", verdict]];
  return outputs.map((o) => {
    const usual = o.measure === "relative L2" || o.measure === "max abs" || o.measure === "equal";
    return [
      name,
      module ?? "–",
      o.output,
      figure(o.maxAbs),
      figure(o.relativeL2),
      o.cosine === null ? "–" : o.cosine.toFixed(9),
      o.verdict === "pass" ? `pass${usual ? "" : ` (${limitOf(o)})`}` : `FAIL (${o.note ?? limitOf(o)})`,
    ];
  });
}
