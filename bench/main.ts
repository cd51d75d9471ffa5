/**
 * `npm run bench [filter]`: how fast is this adapter, how close to its own limit is the engine, and against whom?
 *
 * Everything that computes is a process of its own (contenders/); this one asks, compares, and writes the report. Whatever
 * cannot be measured on a machine is said in the report and stops nothing else.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { checkOutputFile, writeWhole } from "../src/cli/files.ts";
import { packageRoot } from "../src/cli/package-root.ts";
import { guardOutput } from "../src/cli/terminal/output.ts";
import type { BenchCase } from "./cases/case.ts";
import { figureOps } from "./cases/figures.ts";
import { trainingOps } from "./cases/training.ts";
import { listedCases } from "./cases/listed.ts";
import { figureModules, keptStep } from "./cases/modules.ts";
import { findPeers } from "./contenders/find.ts";
import { ContenderProcess } from "./contenders/process.ts";
import type { LoadRequest } from "./contenders/protocol.ts";
import { ceilingUnit, type CeilingRates } from "./measure/ceiling.ts";
import { measureChromiumLoad } from "./load/chromium.ts";
import type { ComponentLoads } from "./load/component.ts";
import type { NodeLoad } from "./load/node.ts";
import type { Streaming } from "./load/streaming.ts";
import type { Unpacking } from "./load/unpacking.ts";
import { checkModules, readmeCommand } from "./measure/command.ts";
import { contest, type CaseResult } from "./measure/contest.ts";
import type { Generation } from "./measure/generation.ts";
import type { Runtime } from "./measure/runtime.ts";
import { comparisonTable, compareRuns } from "./report/compare.ts";
import { htmlReport } from "./report/html.ts";
import { chosenBy, history, isaTables, resultsFolder, type BenchRecord } from "./report/record.ts";
import { loadingText } from "./report/loading.ts";
import { generationText, notes, resultTable, runtimeText } from "./report/terminal.ts";

const PIPELINE = "pipeline";
const LOAD = "load";
guardOutput();
const options = new Command("bench")
  .description("measure this adapter's ceilings, the engine at the shapes of published models, and its peers, in one run")
  .argument(
    "[filter...]",
    "only cases whose name or level (op, block, model) holds one of these (a whole name: that case alone); " +
      `"${PIPELINE}" is the runtime and whole generations, "${LOAD}" the ways from a file, a server and a browser's storage to the device`,
  )
  .option("--adapter <name>", "adapter to run on (default: the fastest there is)")
  .option("--quick", "three rounds a case, and the cases of the figures alone")
  .option("--skip-peers", "this engine alone")
  .option("--peers <list>", "only these peers: onnxruntime, tfjs, jax, torch")
  .option("--skip-pipeline", "leave out the runtime and whole generations")
  .option("--compare <file>", "an earlier run's JSON: ratios, and regressions beyond the noise of both")
  .option("--json <file>", "where the results go; the report lies beside it (default: bench/results/DATE.json)")
  .parse();
const filter = options.args.map((word) => word.toLowerCase());
const given = options.opts<{
  adapter?: string;
  quick?: boolean;
  skipPeers?: boolean;
  peers?: string;
  skipPipeline?: boolean;
  compare?: string;
  json?: string;
}>();
if (given.json !== undefined) await checkOutputFile(given.json, "--json");
// Contenders are processes of their own: this is how they are told.
if (given.adapter !== undefined) process.env["COGWHEEL_ADAPTER"] = given.adapter;
const old = given.compare === undefined ? undefined : (JSON.parse(readFileSync(given.compare, "utf8")) as BenchRecord);

const all: readonly BenchCase[] = [
  ...figureOps,
  ...figureModules,
  ...(given.quick && filter.length === 0 ? [] : [...trainingOps, keptStep, ...listedCases]),
];
/** A whole name is that case's alone, though others hold it: one block's, which is a part of its training step's. */
const isWhole = (word: string): boolean => all.some(({ name }) => name.toLowerCase() === word);
const wanted = (...names: string[]): boolean =>
  filter.length === 0 ||
  filter.some((word) => names.map((name) => name.toLowerCase()).some((name) => (isWhole(word) ? name === word : name.includes(word))));
const cases = all.filter((c) => wanted(c.name, c.level));
const pipeline = !given.skipPipeline && wanted(PIPELINE);
const load = wanted(LOAD) && (!given.quick || filter.length > 0);
if (cases.length === 0 && !pipeline && !load) {
  console.error(
    `[bench] a filter must be part of a case's name or a level, got ${filter.join(", ")}; ` +
      `cases are\n${all.map(({ name }) => `  ${name}`).join("\n")}\n  ${PIPELINE}\n  ${LOAD}`,
  );
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), "cogwheel-bench-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
/** The engine and its peers, once they run. */
const contenders: ContenderProcess[] = [];
const results: CaseResult[] = [];
/** The exit code of a signal that ended the measuring: what was measured is told and kept. The second one ends all, as the first does before a case is done. */
let stopped: number | undefined;
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)
  process.on(signal, () => {
    if (stopped !== undefined || results.length === 0) process.exit(code);
    stopped = code;
    for (const who of contenders) who.kill();
  });
const say = (text: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
};
const failures: string[] = [];
/** What one part of the bench gives; when it fails, the others go on. */
async function attempt<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
  if (stopped !== undefined) return undefined;
  // A log shows what is measured too, by a line each.
  if (process.stderr.isTTY) say(what);
  else console.error(`[bench] ${what}`);
  try {
    return await work();
  } catch (error) {
    if (stopped === undefined) failures.push(`${what}: ${(error as Error).message.split("\n")[0]}`);
    return undefined;
  }
}

const engine = new ContenderProcess(
  { id: "cogwheel", command: process.execPath, args: [join(packageRoot, "dist", "bench", "cogwheel.js")] },
  folder,
);
contenders.push(engine);
const opened = await engine.start();
const cpu = cpus()[0]?.model.trim() ?? "unknown CPU";
console.log(`${opened.adapter}, Node ${process.version}, ${cpus().length} × ${cpu}`);
console.log(chosenBy(opened));
const { peers, missing } = given.skipPeers ? { peers: [], missing: [] } : await findPeers(folder, given.peers?.split(","));
contenders.push(...peers);
for (const { opened: who } of peers) console.log(`${who.name} ${who.version}: ${who.adapter}`);
for (const why of missing) console.log(why);

const ceilingRuns = given.quick ? 5 : 11;
const ceilings = () => attempt("ceilings", () => engine.ask<CeilingRates>({ do: "ceilings", runs: ceilingRuns }));
const before = (await ceilings()) ?? {};
console.log(
  `\nceilings: ${Object.entries(before)
    .map(([name, rate]) => `${name} ${rate.toFixed(1)} ${ceilingUnit(name)}`)
    .join(", ")}\n`,
);

const checked = await checkModules([...cases.map((c) => c.kind), ...(pipeline ? [PIPELINE] : [])], opened.adapter, failures);
for (const [at, c] of cases.entries()) {
  if (checked.bad.has(c.kind)) {
    results.push({ case: c, peers: [], failed: "its reference cases fail" });
    continue;
  }
  const rounds = given.quick || c.kind === "listed" ? { least: 3, most: 3, seconds: 0 } : { least: 3, most: 9, seconds: 20 };
  const result = await attempt(`${c.name} (${at + 1} of ${cases.length})`, () =>
    contest(c, engine, peers, { folder, rounds, patience: 20, say: (text) => say(`${c.name}: ${text}`) }),
  );
  if (stopped !== undefined) {
    failures.push(
      `${cases
        .slice(at)
        .map(({ name }) => name)
        .join("; ")}: stopped before`,
    );
    break;
  }
  results.push(result ?? { case: c, peers: [], failed: failures.at(-1)! });
}
const alone = async <T>(what: "runtime" | "generation"): Promise<T | undefined> => {
  if (!pipeline || checked.bad.has(PIPELINE)) return undefined;
  return await attempt(what, async () => {
    if (!engine.alive) await engine.start();
    return await engine.ask<T>({ do: what });
  });
};
/** One after the other, since they would take each other's cores. */
async function measureLoading(): Promise<BenchRecord["loading"]> {
  const [bytes, runs] = given.quick ? [64 << 20, 3] : [256 << 20, 7];
  const inFolder = async <T>(what: string, work: (empty: string) => Promise<T>): Promise<T | undefined> => {
    const empty = mkdtempSync(join(folder, "load-"));
    const result = await attempt(what, () => work(empty));
    rmSync(empty, { recursive: true });
    return result;
  };
  const ask = <T>(what: string, part: LoadRequest["part"]): Promise<T | undefined> =>
    inFolder(what, async (empty) => {
      // A process that had much memory before does not tell what a load takes.
      if (part === "component") await engine.stop();
      if (!engine.alive) await engine.start();
      return await engine.ask<T>({ do: "load", part, folder: empty, bytes, runs });
    });
  const node = await ask<NodeLoad>("loading in Node", "ways");
  const chromium = await inFolder("loading in Chromium", (empty) => measureChromiumLoad(empty, bytes / 2, runs));
  const unpacking = await ask<Unpacking>("unpacking", "unpacking");
  const component = await ask<ComponentLoads>("loading T5", "component");
  const streaming = await ask<Streaming>("streaming", "streaming");
  return {
    ...(node ? { node } : {}),
    ...(chromium ? { chromium } : {}),
    ...(unpacking ? { unpacking } : {}),
    ...(component ? { component } : {}),
    ...(streaming ? { streaming } : {}),
  };
}
const runtime = await alone<Runtime>("runtime");
const generation = await alone<Generation>("generation");
const readme = pipeline && !checked.bad.has(PIPELINE) ? await attempt("the README's command", () => readmeCommand(folder)) : undefined;
const loading = load ? await measureLoading() : undefined;
const after = (await ceilings()) ?? {};
say("");

const { adapter, json = join(resultsFolder, `${new Date().toISOString().replace(/[:.]/g, "-")}.json`) } = given;
const record: BenchRecord = {
  date: new Date().toISOString(),
  command: [
    "npm run bench",
    ...(process.argv.length > 2
      ? ["--", ...process.argv.slice(2).map((word) => (/[^\w,=./:-]/.test(word) ? JSON.stringify(word) : word))]
      : []),
  ].join(" "),
  machine: {
    system: `${process.platform} ${release()} ${process.arch}`,
    cpu,
    cores: cpus().length,
    memoryGB: totalmem() / 2 ** 30,
    node: process.version,
  },
  engine: opened,
  peers: peers.map((p) => ({ id: p.launch.id, ...p.opened })),
  missing,
  ceilings: { before, after },
  checked: checked.passed,
  results,
  failures,
  ...(runtime ? { runtime } : {}),
  ...(loading ? { loading } : {}),
  ...(generation ? { generation } : {}),
  ...(readme ? { readme } : {}),
};
if (results.length) console.log(resultTable(results, record.peers));
for (const line of notes(results)) console.log(line);
if (runtime) console.log(runtimeText(runtime));
if (loading) console.log(loadingText(loading));
if (generation) console.log(generationText(generation, readme));
for (const failure of failures) console.log(`not measured: ${failure}`);

const earlier = history(opened);
await writeWhole(json, new TextEncoder().encode(JSON.stringify(record, null, 2)), "--json");
const html = json.replace(/(\.json)?$/, ".html");
await writeWhole(html, new TextEncoder().encode(htmlReport(record, earlier, isaTables())), "--json");
console.log(`\n${json}\n${html}${adapter === undefined ? "" : ` (${adapter})`}`);

if (old) {
  const rows = compareRuns(old, record);
  console.log(`\nbeside ${given.compare} of ${old.date}:\n${comparisonTable(rows)}`);
  const slower = rows.filter((r) => r.verdict === "slower");
  if (slower.length) {
    console.log(`${slower.length} of ${rows.length} cases are slower than the noise of both runs explains`);
    process.exitCode = 1;
  }
}
for (const who of contenders) await who.stop();
process.exit(stopped);
