/**
 * `npm run bench:isa`: the heavy kernels as a real GPU's compiler makes them, on a machine without a GPU. AMD's compiler in Mesa's
 * RADV compiles every variant that the engine chooses for that GPU; a table says what became of it, beside ONNX Runtime's kernels
 * where `npm run bench:peers` has installed it. Needs Linux, Mesa's RADV up to 25.x (its 26 has no null device), gcc, Vulkan's headers.
 *
 *   npm run bench:isa -- [--family navi31] [--json FILE]
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Command } from "commander";
import { packageRoot } from "../../src/cli/package-root.ts";
import { table } from "../../src/cli/terminal/table.ts";
import { peerInstalled, peerVersion } from "../contenders/installed.ts";
import { measureIsa, type IsaRow } from "./measure.ts";

const options = new Command("bench:isa")
  .description("registers, occupancy and the hot loops of the heavy kernels, by AMD's own compiler")
  .option("--family <name>", "GPU family: navi31 (RDNA 3), navi21 (RDNA 2), vega10 (GCN 5)", "navi31")
  .option("--json <file>", "where the results go", join(packageRoot, "bench", "results", "isa.json"))
  .parse()
  .opts<{ family: string; json: string }>();

const result = await measureIsa(options.family, { peers: peerInstalled("onnxruntime-node") });
if (typeof result === "string") {
  console.log(`bench:isa is skipped: it needs ${result}`);
  process.exit(0);
}
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const cells = ({ case: name, kernel, label, isa: { stats, loop } }: IsaRow): string[] => [
  name, kernel === "ONNX Runtime" ? `${kernel} ${label}` : label, String(stats.vgprs), String(stats.spills), String(stats.scratchBytes), (stats.ldsBytes / 1024).toFixed(1), String(stats.waves),
  ...(loop ? [`${loop.fma + loop.matrix} of ${loop.instructions}`, percent(loop.useful), percent(loop.matrixShare), kernel === "ONNX Runtime" ? "" : percent(loop.main), `${loop.ldsWide} of ${loop.lds}`] : ["no loop", "", "", "", ""]),
];
console.log(`${result.adapter}, ${options.family}\n`);
console.log(table(["case", "kernel", "registers", "spills", "scratch", "LDS KiB", "waves", "hot loop", "useful", "WMMA", "main loop", "wide LDS"], result.rows.map(cells)));
if (!peerInstalled("onnxruntime-node")) console.log("\nONNX Runtime is not installed: npm run bench:peers");
mkdirSync(dirname(options.json), { recursive: true });
writeFileSync(options.json, `${JSON.stringify({ date: new Date().toISOString().slice(0, 10), family: options.family, adapter: result.adapter, ...(peerInstalled("onnxruntime-node") ? { onnxruntime: peerVersion("onnxruntime-node") } : {}), rows: result.rows }, null, 1)}\n`);
console.log(`\n${options.json}`);
