/**
 * `npm run bench`: the adapter's own ceiling, what replay costs, the README command, and a row per kernel of a
 * generation, all in one run. Kernels are timed only after the committed reference cases passed in the same run.
 *
 *   npm run bench -- [--adapter NAME] [--json FILE] [--skip-command]
 */
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { Command } from "commander";
import { EMBEDDED_MODEL, packageRoot } from "../src/cli/package-root.ts";
import { table } from "../src/cli/terminal/table.ts";
import { validateCommand } from "../src/cli/validate.ts";
import { Gpu } from "../src/gpu/gpu.ts";
import { Profile } from "../src/gpu/profile.ts";
import { compile } from "../src/graph/compile.ts";
import { Program } from "../src/graph/program.ts";
import { WeightStore } from "../src/graph/weights.ts";
import { ComponentWeights } from "../src/models/component-weights.ts";
import { CogVideoX } from "../src/pipelines/cogvideox.ts";
import { denoiseGraph } from "../src/pipelines/denoiser.ts";
import { measureCeiling } from "./ceiling.ts";
import { measureReplay } from "./replay.ts";

const PROMPT = "a red circle moving left on a black background";

const options = new Command("bench")
  .description("measure this adapter, the engine's replay, the README command and every kernel of a generation")
  .option("--adapter <name>", "adapter to run on", process.env["COGWHEEL_ADAPTER"])
  .option("--json <file>", "where the results go", join(packageRoot, "bench", "results", `${new Date().toISOString().replace(/[:.]/g, "-")}.json`))
  .option("--skip-command", "leave out the README command")
  .parse()
  .opts<{ adapter?: string; json: string; skipCommand?: boolean }>();

await using gpu = await Gpu.open(options.adapter ? { adapter: options.adapter } : {});
console.log(`${gpu.name} (${gpu.caps.kind}), Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? "unknown CPU"}\n`);

const cases = join(packageRoot, "test", "reference", "cases");
const checked: string[] = [];
for (const module of ["CogVideoXTransformer3DModel", "AutoencoderKLCogVideoX.decode", "T5EncoderModel", "CogVideoXDDIMScheduler"]) {
  // The report goes nowhere: its exit code says whether this module may be timed.
  let report = "";
  const failed = await validateCommand([join(cases, module)], { ...(options.adapter ? { adapter: options.adapter } : {}), write: (text) => { report += text; } });
  const bad = report.split("\n").filter((line) => /FAIL|cannot be run/.test(line) && !/tiled| cases:/.test(line));
  if (failed && bad.length) throw new Error(`${module} failed its reference cases, so nothing is timed:\n${bad.join("\n")}`);
  checked.push(module);
}
console.log(`passed their reference cases in this run: ${checked.join(", ")}\n`);

const ceiling = await measureCeiling(gpu);
console.log(`multiply-add ceiling: ${ceiling.median.toFixed(2)} GFLOP/s (${ceiling.least.toFixed(2)} to ${ceiling.most.toFixed(2)})\n`);

await using model = await CogVideoX.open(EMBEDDED_MODEL, { gpu });
const replay = await (async () => {
  const weights = await ComponentWeights.open(model.checkpoint.component("transformer"), model.dtype);
  const { transformer, } = model.configs;
  const s = model.defaults;
  const graph = denoiseGraph(transformer, weights, {
    samples: 1, frames: (s.frames - 1) / model.rules.temporal + 1, height: s.height / model.rules.spatial, width: s.width / model.rules.spatial,
    textLength: transformer.max_text_seq_length, guidance: true, stochastic: s.scheduler === "dpm",
  }, model.dtype);
  using store = new WeightStore(gpu, weights);
  using program = await Program.create(gpu, compile(graph, gpu.caps), store);
  return await measureReplay(gpu, program);
})();
console.log(`replay of a denoising step, ${replay.dispatches} dispatches: ${replay.replayMs.toFixed(2)} ms to encode, a bare loop ${replay.bareMs.toFixed(2)} ms: ${replay.ratio.toFixed(2)} ×\n`);

const command = options.skipCommand ? undefined : await readmeCommand();
if (command) console.log(`npm start -- "${PROMPT}": ${command.seconds.toFixed(1)} s from start to MP4, shader compilation included; peak resident memory ${command.peakMB} MB\n`);

// Once to compile what drivers compile at the first dispatch, once to measure.
await model.generate({ prompt: PROMPT, seed: 1 });
using profile = new Profile(gpu);
const video = await model.generate({ prompt: PROMPT, seed: 1, gpuProfile: profile });
const rows = profile.rows();
console.log(profile.timed ? "GPU time by kernel, one generation:" : "This adapter has no timestamps; counts and costs of one generation:");
console.log(table(["kernel", "runs", "ms", "share", "GFLOP/s", "of ceiling", "GB/s"], rows.map((r) => [
  r.label, String(r.count), r.ms.toFixed(1), `${(100 * r.share).toFixed(1)} %`, r.gflops.toFixed(2), `${((100 * r.gflops) / ceiling.median).toFixed(0)} %`, r.gbytes.toFixed(2),
])));

await mkdir(dirname(resolve(options.json)), { recursive: true });
await writeFile(options.json, JSON.stringify({ date: new Date().toISOString(), adapter: gpu.name, capabilities: gpu.caps, node: process.version, settings: model.defaults, ceiling, replay, command, stages: video.seconds, kernels: rows }, null, 2));
console.log(options.json);

/** The README's command as a process of its own, after the build: wall time and peak memory. */
async function readmeCommand(): Promise<{ seconds: number; peakMB: number }> {
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-bench-"));
  try {
    const start = performance.now();
    const child = spawn(process.execPath, [join(packageRoot, "dist", "launch.js"), "generate", PROMPT, "--seed", "1", "--out", join(folder, "out.mp4"), ...(options.adapter ? ["--adapter", options.adapter] : [])], { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    child.stdout.on("data", (data: Buffer) => { text += data.toString(); });
    const code = await new Promise<number | null>((done) => child.on("exit", done));
    const seconds = (performance.now() - start) / 1000;
    if (code !== 0) throw new Error(`the README command must succeed, got exit code ${code}`);
    await readFile(join(folder, "out.mp4"));
    return { seconds, peakMB: Number(/peak resident memory (\d+) MB/.exec(text)?.[1] ?? NaN) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
process.exit();
