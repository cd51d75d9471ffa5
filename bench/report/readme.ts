/**
 * `npm run bench:readme`: the tables of docs/speed.md, from the newest result of every case that is in bench/results, adapter by adapter,
 * those of docs/loading.md, and the README's short one.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../src/cli/package-root.ts";
import { figureOps } from "../cases/figures.ts";
import { figureModules } from "../cases/modules.ts";
import type { CaseResult } from "../measure/contest.ts";
import { milliseconds, percent, times } from "./figures.ts";
import { loadTables } from "./loading.ts";
import { resultsFolder, type BenchRecord } from "./record.ts";

const [BEGIN, END] = ["<!-- bench:begin -->", "<!-- bench:end -->"];

const records = readdirSync(resultsFolder)
  .filter((n) => n.endsWith(".json"))
  .sort()
  .flatMap((name) => {
    const record = JSON.parse(readFileSync(join(resultsFolder, name), "utf8")) as BenchRecord;
    return record.results && record.ceilings?.before ? [record] : [];
  });

function newest<T>(
  list: readonly BenchRecord[],
  of: (record: BenchRecord) => T | undefined,
): { value: T; record: BenchRecord } | undefined {
  for (const record of [...list].reverse()) {
    const value = of(record);
    if (value !== undefined) return { value, record };
  }
  return undefined;
}

/** Peers' figures may come from several runs: of each the newest. */
function caseOf(
  list: readonly BenchRecord[],
  name: string,
): { ours: NonNullable<CaseResult["ours"]>; ratio: (peer: string) => number | undefined; used: BenchRecord[] } | undefined {
  const result = (r: BenchRecord) => r.results.find((x) => x.case.name === name && x.ours);
  const own = newest(list, result);
  if (!own) return undefined;
  const used = [own.record];
  const ratio = (peer: string) => {
    const found = newest(list, (r) => result(r)?.peers.find((p) => p.contender === peer)?.ratio?.median);
    if (found && !used.includes(found.record)) used.push(found.record);
    return found?.value;
  };
  return { ours: own.value.ours!, ratio, used };
}

function section(adapter: string, list: readonly BenchRecord[]): string {
  const names = [...figureOps, ...figureModules].map((c) => c.name);
  const peers = [...new Map(list.flatMap((r) => r.peers.map((p) => [p.id, p] as const))).values()];
  const used = new Set<BenchRecord>();
  const rows = names.flatMap((name) => {
    const found = caseOf(list, name);
    if (!found) return [];
    const target =
      list.at(-1)!.results.find((x) => x.case.name === name)?.case.target ??
      newest(list, (r) => r.results.find((x) => x.case.name === name)?.case.target)?.value;
    const share =
      target?.ceiling === "copy"
        ? `${percent(found.ours.share.copy)} of a copy (${(found.ours.ceilings.copy ?? 0).toFixed(0)} GB/s)`
        : `${percent(found.ours.share.chains)}, ${percent(found.ours.share.peak)}`;
    const cells = [name, milliseconds(found.ours.ms.median), ...peers.map((p) => times(found.ratio(p.id))), share];
    for (const r of found.used) used.add(r);
    return [`| ${cells.join(" | ")} |`];
  });
  const heads = ["case", "ms", ...peers.map((p) => `${p.name} ${p.version.replace(/\+.*/, "")}`), "of 16 chains, of the peak"];
  const runtime = newest(list, (r) => r.runtime),
    readme = newest(list, (r) => r.readme),
    ceilings = list.at(-1)!.ceilings.before;
  for (const r of [runtime, readme]) if (r) used.add(r.record);
  const dates = [...used].map((r) => r.date.slice(0, 10)).sort();
  const { machine } = list.at(-1)!;
  const span = dates[0] === dates.at(-1) ? dates[0] : `${dates[0]} to ${dates.at(-1)}`;
  return [
    `**${adapter}**, ${machine.cores} × ${machine.cpu} ` +
      `(${span}, ${[...new Set([...used].map((r) => `\`${r.command}\``))].join(", ")}): ` +
      `16 chains ${(ceilings["16 chains"] ?? 0).toFixed(0)}, peak ${(ceilings.f32 ?? 0).toFixed(0)} GFLOP/s`,
    "",
    `| ${heads.join(" | ")} |`,
    `| --- |${heads
      .slice(1)
      .map(() => " --- |")
      .join("")}`,
    ...rows,
    "",
    ...(runtime
      ? [
          `Replaying a denoising step costs ${times(runtime.value.replay.ratio)} a bare loop of as many dispatches ` +
            `and makes ${runtime.value.allocation.buffers + runtime.value.allocation.bindGroups || "no"} buffers or bind groups; ` +
            `while the GPU works the main thread takes ${percent(runtime.value.waiting?.core)} of a core.`,
        ]
      : []),
    ...(readme
      ? [
          "The README's command: " +
            `${readme.value.seconds.toFixed(1)} s from start to MP4, peak resident memory ${readme.value.peakMB} MB.`,
        ]
      : []),
  ].join("\n");
}

/** What the README shows: the first adapter's kernels and whole modules beside the peers. */
function short(adapter: string, list: readonly BenchRecord[]): string {
  const [title, blank, heads, rule, ...rows] = section(adapter, list).split("\n");
  const shown = ["matmul 1024×1920×1920", "attention 30", "causal conv3d", "transformer block", "T5-XXL", "VAE decoder"];
  const cut = (row: string): string => `${row.split(" | ").slice(0, -1).join(" | ")} |`;
  const kept = rows.filter((row) => shown.some((name) => row.startsWith(`| ${name}`)));
  return [title!.replace(/: 16 chains.*/, ""), blank, cut(heads!), rule!.replace(/ --- \|$/, ""), ...kept.map(cut)].join("\n");
}

/** The tables of loading, of the newest run on an adapter that has each. */
function loadingSection(list: readonly BenchRecord[]): string {
  const parts = (["node", "chromium", "unpacking", "component", "streaming"] as const).flatMap((part) => {
    const found = newest(list, (r) => r.loading?.[part]);
    return found ? loadTables({ [part]: found.value }).map((table) => ({ table, record: found.record })) : [];
  });
  return parts
    .map(({ table: { title, heads, rows }, record: { machine, date, command } }) =>
      [
        `**${title}** (${machine.cores} × ${machine.cpu}, Node ${machine.node}, ${date.slice(0, 10)}, \`${command}\`)`,
        "",
        ...[heads, heads.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`),
      ].join("\n"),
    )
    .join("\n\n");
}

/** Puts text between the two marks of a page. */
function fill(page: string, content: string): void {
  const file = join(packageRoot, page);
  const text = readFileSync(file, "utf8");
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from < 0 || to < from) throw new Error(`[bench] ${page} must hold ${BEGIN} and ${END}, got neither or not in order; put them back`);
  writeFileSync(file, `${text.slice(0, from + BEGIN.length)}\n${content}\n${text.slice(to)}`);
}

const adapters = [...new Set(records.map((r) => r.engine.adapter))];
const of = (adapter: string): BenchRecord[] => records.filter((r) => r.engine.adapter === adapter);
const timed = adapters.filter((adapter) => of(adapter).some((r) => r.results.length || r.runtime || r.readme));
if (timed.length) {
  fill("docs/speed.md", timed.map((adapter) => section(adapter, of(adapter))).join("\n\n"));
  fill("README.md", short(timed[0]!, of(timed[0]!)));
}
const loading = adapters.map((adapter) => loadingSection(of(adapter))).filter(Boolean);
if (loading.length) fill("docs/loading.md", loading.join("\n\n"));
console.log(`README.md, docs/speed.md: ${timed.join(", ") || "as it was"}; docs/loading.md: ${loading.length ? "written" : "as it was"}`);
