/** One run of the bench, as it is kept in bench/results. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../src/cli/package-root.ts";
import type { Opened } from "../contenders/protocol.ts";
import { byKernel, PEER, type IsaRow } from "../isa/measure.ts";
import { readIsaRecord } from "../isa/record.ts";
import type { ChromiumLoad } from "../load/chromium.ts";
import type { ComponentLoads } from "../load/component.ts";
import type { NodeLoad } from "../load/node.ts";
import type { Streaming } from "../load/streaming.ts";
import type { Unpacking } from "../load/unpacking.ts";
import type { CeilingRates } from "../measure/ceiling.ts";
import type { CaseResult } from "../measure/contest.ts";
import type { Generation } from "../measure/generation.ts";
import type { Runtime } from "../measure/runtime.ts";

export interface BenchRecord {
  readonly date: string;
  readonly command: string;
  readonly machine: {
    readonly system: string;
    readonly cpu: string;
    readonly cores: number;
    readonly memoryGB: number;
    readonly node: string;
  };
  /** With the adapter's capabilities. */
  readonly engine: Opened;
  readonly peers: readonly (Opened & { readonly id: string })[];
  /** Peers that were not there, and why. */
  readonly missing: readonly string[];
  readonly ceilings: { readonly before: CeilingRates; readonly after: CeilingRates };
  /** Modules whose reference cases passed in this run, or what failed. */
  readonly checked: readonly string[];
  readonly results: readonly CaseResult[];
  readonly runtime?: Runtime;
  readonly loading?: {
    readonly node?: NodeLoad;
    readonly chromium?: ChromiumLoad;
    readonly unpacking?: Unpacking;
    readonly component?: ComponentLoads;
    readonly streaming?: Streaming;
  };
  readonly generation?: Generation;
  readonly readme?: { readonly seconds: number; readonly peakMB: number };
  /** What could not be measured. */
  readonly failures: readonly string[];
}

/** What this engine's kernels were chosen by. */
export function chosenBy({ tuning }: Opened): string {
  if (tuning === undefined) return "Not told how kernels were chosen.";
  if (tuning === null) return "Kernels are chosen by what the adapter can do; nothing was measured before (no tuning table).";
  const { file, written, kernels, works } = tuning;
  return (
    "Kernels are chosen by measurements: " +
    `tuning table ${file ?? "in no file"}${written ? ` of ${written.slice(0, 16).replace("T", " ")}` : ""} (kinds of work: ${works}; ` +
    `kernels ${kernels}); other work by what the adapter can do.`
  );
}

export const resultsFolder = join(packageRoot, "bench", "results");

/** Earlier runs on the same adapter, oldest first. */
export function history(engine: Opened, folder = resultsFolder): BenchRecord[] {
  if (!existsSync(folder)) return [];
  const records: BenchRecord[] = [];
  for (const name of readdirSync(folder)
    .filter((n) => n.endsWith(".json"))
    .sort()) {
    try {
      const record = JSON.parse(readFileSync(join(folder, name), "utf8")) as BenchRecord;
      if (record.engine?.adapter === engine.adapter && record.ceilings?.before && Array.isArray(record.results)) records.push(record);
    } catch {
      // Another bench's file, or one that was cut short: no history of ours.
    }
  }
  return records;
}

export interface IsaTable {
  readonly title: string;
  /** Long: shown when it is asked for. */
  readonly folded?: boolean;
  readonly rows: readonly Record<string, string | number>[];
}

/** What `npm run bench:isa` left: the heavy kernels beside the peer's, all kernels at their worst, and every variant. */
export function isaTables(folder = resultsFolder): readonly IsaTable[] {
  const record = readIsaRecord(join(folder, "isa.json"));
  if (!record) return [];
  const { family, adapter, onnxruntime, rows } = record;
  const share = (value: number | undefined): string => (value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);
  const variant = ({ case: of, kernel, label, isa: { stats, loop } }: IsaRow) => ({
    case: of,
    kernel: kernel === PEER ? `${kernel} ${onnxruntime?.version ?? ""}, ${label}` : label,
    VGPRs: stats.vgprs,
    spills: stats.spills,
    "scratch bytes": stats.scratchBytes,
    "LDS bytes": stats.ldsBytes,
    "waves a SIMD": stats.waves,
    "useful share": share(loop?.useful),
  });
  return [
    {
      title: `A GPU's own compiler (npm run bench:isa): ${family}, ${adapter}, ${record.date}`,
      rows: rows
        .filter((row) => row.of === "case")
        .map((row) => ({
          ...variant(row),
          "WMMA share": row.isa.loop?.matrix ? share(row.isa.loop.matrixShare) : "–",
          "with the loop around it": share(row.isa.loop?.main),
        })),
    },
    {
      title: `All kernels on ${family}: the most of any variant, and the fewest waves`,
      rows: byKernel(rows).map((k) => ({
        kernel: k.kernel,
        variants: k.variants,
        VGPRs: k.vgprs,
        spills: k.spills,
        "scratch bytes": k.scratchBytes,
        "LDS bytes": k.ldsBytes,
        "waves a SIMD": k.waves,
        "fewest waves": k.fewest,
      })),
    },
    { title: `All other variants on ${family}`, folded: true, rows: rows.filter((row) => row.of === "list").map(variant) },
  ];
}
