/**
 * `npm run bench [filter]`: how fast is this adapter, how close to its own limit is the engine, and against whom?
 *
 *   npm run bench -- [FILTER…] [--adapter NAME] [--quick] [--skip-peers] [--peers a,b]
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { Command } from "commander";
import { packageRoot } from "../src/cli/package-root.ts";
import type { BenchCase } from "./cases/case.ts";
import { figureOps } from "./cases/figures.ts";
import { figureModules } from "./cases/modules.ts";
import { ContenderProcess } from "./contenders/process.ts";
import { contest, type CaseResult } from "./measure/contest.ts";
import { ceilingUnit, type CeilingRates } from "./measure/ceiling.ts";
import { findPeers } from "./contenders/find.ts";
import { resultTable } from "./report/terminal.ts";

const options = new Command("bench")
  .description("measure this adapter's ceilings, the engine on real shapes, and its peers, in one run")
  .argument("[filter...]", "only cases whose name holds one of these")
  .option("--adapter <name>", "adapter to run on", process.env["COGWHEEL_ADAPTER"])
  .option("--quick", "three rounds a case")
  .option("--skip-peers", "this engine alone")
  .option("--peers <list>", "only these peers: onnxruntime, tfjs, jax, torch")
  .option("--json <file>", "where the results go", join(packageRoot, "bench", "results", `${new Date().toISOString().replace(/[:.]/g, "-")}.json`))
  .parse();
const filter = options.args.map((text) => text.toLowerCase());
const { quick, skipPeers, peers: only, json } = options.opts<{ adapter?: string; quick?: boolean; skipPeers?: boolean; peers?: string; json: string }>();

const all: readonly BenchCase[] = [...figureOps, ...figureModules];
const cases = all.filter(({ name }) => filter.length === 0 || filter.some((text) => name.toLowerCase().includes(text)));
if (cases.length === 0) {
  console.error(`[bench] a filter must be part of a case's name, got ${filter.join(", ")}; cases are\n${all.map(({ name }) => `  ${name}`).join("\n")}`);
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), "cogwheel-bench-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const say = (text: string): void => { if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`); };

const engine = new ContenderProcess({ id: "cogwheel", command: process.execPath, args: [join(packageRoot, "dist", "bench", "cogwheel.js")] }, folder);
const opened = await engine.start();
console.log(`${opened.adapter}, Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? "unknown CPU"}`);

const { peers, missing } = skipPeers ? { peers: [], missing: [] } : await findPeers(folder, only?.split(","));
for (const { opened: who } of peers) console.log(`${who.name} ${who.version}: ${who.adapter}`);
for (const why of missing) console.log(why);

const ceilings = await engine.ask<CeilingRates>({ do: "ceilings", runs: quick ? 5 : 15 });
console.log(`\nceilings: ${Object.entries(ceilings).map(([name, rate]) => `${name} ${rate.toFixed(1)} ${ceilingUnit(name)}`).join(", ")}\n`);

const results: CaseResult[] = [];
for (const c of cases) {
  const result = await contest(c, engine, peers, { folder, rounds: quick ? { least: 3, most: 3, seconds: 0 } : { least: 3, most: 9, seconds: 20 }, patience: 20, say: (text) => say(`${c.name}: ${text}`) });
  results.push(result);
}
say("");
console.log(resultTable(results, peers.map((p) => p.opened.name), peers.map((p) => p.launch.id)));
for (const { case: c, failed, peers: theirs } of results) {
  if (failed) console.log(`${c.name} was not timed: ${failed}`);
  for (const peer of theirs) if (peer.failed) console.log(`${c.name}: ${peer.contender} was not timed: ${peer.failed}`);
  for (const { contender, cpuNodes } of theirs) if (cpuNodes) console.log(`${c.name}: ${contender} computes ${cpuNodes.cpu} of its ${cpuNodes.all} nodes on the CPU`);
  for (const peer of theirs) for (const note of peer.notes ?? []) console.log(`${c.name}: ${peer.contender}: ${note.split("\n")[0]!.slice(0, 160)}`);
}

mkdirSync(dirname(resolve(json)), { recursive: true });
writeFileSync(json, JSON.stringify({ date: new Date().toISOString(), engine: opened, peers: peers.map((p) => p.opened), ceilings, results }, null, 2));
console.log(json);
for (const who of [engine, ...peers]) await who.stop();
process.exit();
