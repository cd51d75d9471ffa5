/**
 * `npm run bench:isa`: the kernels for GPUs as a real GPU's compiler makes them, on a machine without a GPU. AMD's compiler in Mesa's
 * RADV compiles every variant that the engine chooses for that GPU; a table says what became of it, the heavy ones beside ONNX
 * Runtime's where `npm run bench:peers` has installed it. Needs Linux, Mesa's RADV up to 25.x (its 26 has no null device), gcc,
 * Vulkan's headers.
 *
 *   npm run bench:isa -- [--family navi31] [--variants] [--json FILE]
 */
import { join } from "node:path";
import { Command } from "commander";
import { packageRoot } from "../../src/cli/package-root.ts";
import { table } from "../../src/cli/terminal/table.ts";
import { peerInstalled, peerVersion } from "../contenders/installed.ts";
import { byKernel, measureIsa, PEER, type IsaRow } from "./measure.ts";
import { keepingPeer, readIsaRecord, writeIsaRecord } from "./record.ts";

const KEPT = "navi31";
const options = new Command("bench:isa")
  .description("registers, occupancy and the hot loops of the kernels for GPUs, by AMD's own compiler")
  .option("--family <name>", "GPU family: navi31 (RDNA 3), navi21 (RDNA 2), vega10 (GCN 5)", KEPT)
  .option("--variants", "print a row for each variant of each kernel, not only its worst figures")
  .option("--json <file>", `where the results go (default: bench/results/isa.json for ${KEPT}, else nowhere)`)
  .parse()
  .opts<{ family: string; variants?: boolean; json?: string }>();

const peer = peerInstalled("onnxruntime-node");
const result = await measureIsa(options.family, { peers: peer });
if (typeof result === "string") {
  console.log(`bench:isa is skipped: it needs ${result}`);
  process.exit(0);
}
const { adapter, rows } = result;
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const kib = (bytes: number): string => (bytes / 1024).toFixed(1);
const cells = ({ case: name, kernel, label, isa: { stats, loop } }: IsaRow): string[] => [
  name,
  kernel === PEER ? `${kernel} ${label}` : label,
  String(stats.vgprs),
  String(stats.spills),
  String(stats.scratchBytes),
  kib(stats.ldsBytes),
  String(stats.waves),
  ...(loop
    ? [
        `${loop.fma + loop.matrix} of ${loop.instructions}`,
        percent(loop.useful),
        percent(loop.matrixShare),
        kernel === PEER ? "" : percent(loop.main),
        `${loop.ldsWide} of ${loop.lds}`,
      ]
    : []),
];
const stats = ["registers", "spills", "scratch", "LDS KiB", "waves"];
console.log(`${adapter}, ${options.family}\n`);
console.log(
  table(
    ["case", "kernel", ...stats, "hot loop", "useful", "WMMA", "main loop", "wide LDS"],
    rows.filter((row) => row.of === "case").map(cells),
  ),
);
if (options.variants)
  console.log(
    table(
      ["case", "kernel", ...stats],
      rows.filter((row) => row.of === "list").map((row) => cells(row).slice(0, 7)),
    ),
  );
console.log("the most of any variant, and the fewest waves:\n");
console.log(
  table(
    ["kernel", "variants", ...stats, "fewest waves"],
    byKernel(rows).map((k) => [
      k.kernel,
      String(k.variants),
      String(k.vgprs),
      String(k.spills),
      String(k.scratchBytes),
      kib(k.ldsBytes),
      String(k.waves),
      k.fewest,
    ]),
  ),
);

const file = options.json ?? (options.family === KEPT ? join(packageRoot, "bench", "results", "isa.json") : undefined);
const date = new Date().toISOString().slice(0, 10);
const own = {
  date,
  family: options.family,
  adapter,
  ...(peer ? { onnxruntime: { version: peerVersion("onnxruntime-node"), date, adapter } } : {}),
  rows,
};
const record = keepingPeer(own, file === undefined ? undefined : readIsaRecord(file));
if (!peer)
  console.log(
    "ONNX Runtime is not installed (npm run bench:peers)" +
      (record.onnxruntime
        ? `: its rows in the file stay those of version ${record.onnxruntime.version}, ` +
          `${record.onnxruntime.date}, ${record.onnxruntime.adapter}`
        : "") +
      "\n",
  );
if (file !== undefined) {
  writeIsaRecord(file, record);
  console.log(file);
}
