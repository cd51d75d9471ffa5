/** `cogwheel doctor`: is this machine fit, does the engine compute right here, how fast, and what can it run. One report to send. */
import { availableMemoryBytes, listAdapters } from "#platform";
import { bytesText } from "../base/units.ts";
import { visible, visibleJson } from "../base/visible.ts";
import { Gpu } from "../gpu/gpu.ts";
import type { KernelRate } from "../gpu/rates.ts";
import { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { publishedModels } from "../pipelines/cogvideox/published-models.ts";
import { defined } from "../pipelines/options.ts";
import { ratesUnlessOff } from "../tuning/rates.ts";
import { checkOutputFile, writeWhole } from "./files.ts";
import { system, versions } from "./machine.ts";
import { EMBEDDED_MODEL } from "./package-root.ts";
import { fitOf, type FitHere } from "./published-fit.ts";
import { secondsOf } from "./stage-table.ts";
import { interruptible } from "./terminal/interrupt.ts";
import { print, printJson } from "./terminal/output.ts";
import { duration, Progress } from "./terminal/progress.ts";
import { table } from "./terminal/table.ts";
import { PACKAGED_CASES, runCases } from "./validate.ts";
import type { Validated } from "./validate-report.ts";

export interface DoctorOptions {
  adapter?: string;
  json?: boolean;
  /** Measure how fast this adapter is, to tell seconds. Default: on GPUs; on a CPU it takes minutes. */
  seconds?: boolean;
  /** Run the reference cases. Default true. */
  cases?: boolean;
  /** Plan the published models. Default true. */
  models?: boolean;
  /** A file for all that was found. */
  report?: string;
}

/** Finds out and prints. Resolves to the exit code: 0 where the engine computes right here, as far as it was asked to. */
export async function examine(options: DoctorOptions): Promise<number> {
  const { adapter, json = false, seconds, cases: checks = true, models = true, report } = options;
  if (report !== undefined) await checkOutputFile(report, "--report");
  using progress = new Progress();
  using interruption = interruptible((text) => progress.note(text));
  const { signal } = interruption;
  const say = (text: string): void => (json ? undefined : print(text));
  const [of, machine] = [versions(), system()];
  say(`Cogwheel ${of.cogwheel}, Node ${of.node}, ${machine.platform} ${machine.release} ${machine.arch}`);
  say(
    `${visible(machine.cpu)}, ${machine.cores} cores, ${bytesText(machine.memory, 1)} of memory, ` +
      `${bytesText(availableMemoryBytes() ?? 0, 1)} of it to be had`,
  );
  const adapters = await listAdapters();
  await using gpu = await Gpu.open(defined({ adapter }));
  const { caps } = gpu;
  say(`\n${gpu.name}, ${caps.kind === "software" ? "on the CPU" : "a GPU"}; ${adapters.length} adapters are here`);
  if (gpu.advice) say(gpu.advice);
  const has = {
    "shader-f16": caps.f16,
    subgroups: caps.subgroups !== undefined,
    "subgroup matrices": caps.subgroupMatrices.length > 0,
    "timestamp-query": gpu.device.features.has("timestamp-query"),
  };
  for (const [feature, there] of Object.entries(has)) say(`${there ? "✓" : "–"} ${feature}${there ? "" : `: ${WITHOUT[feature]!}`}`);

  if (checks)
    progress.say(
      `\nReference cases: does it compute what diffusers does? ` +
        `${caps.kind === "software" ? "On a CPU this takes from half a minute to two; " : ""}--no-cases leaves it out.`,
    );
  const reference: Record<string, Validated> = {};
  for (const dtype of !checks ? [] : caps.f16 ? (["f32", "f16"] as const) : (["f32"] as const)) {
    const { summary, cases } = (reference[dtype] = await runCases(gpu, [PACKAGED_CASES], { dtype, signal }));
    const wrong = cases.filter(({ verdict }) => verdict === "fail" || verdict === "cannot be run");
    say(`${wrong.length ? "✗" : "✓"} ${dtype}: ${summary.pass} of ${cases.length} reference cases pass`);
    for (const { name, verdict, error } of wrong) say(visible(`  ${name}: ${verdict}${error ? `: ${error}` : ""}`));
  }
  const right = Object.values(reference).every(({ summary: { pass, fail, cannotBeRun } }) => pass > 0 && fail + cannotBeRun === 0);

  const speed = await speedOf(gpu, { signal, progress });
  if (speed) {
    const { gflops, gbytes, video, seconds } = speed;
    const rates = `${gflops.toFixed(0)} GFLOP/s and ${gbytes.toFixed(1)} GB/s`;
    say(`✓ speed: up to ${rates}; the embedded model makes ${video} in about ${duration(seconds)}`);
  }

  const measured = seconds ?? caps.kind === "hardware";
  const fits: FitHere[] = [];
  for (const [name, model] of models ? Object.entries(publishedModels) : []) {
    signal.throwIfAborted();
    progress.report("plan", fits.length / Object.keys(publishedModels).length, name);
    fits.push(await fitOf(name, model, gpu, measured ? { signal, progress } : undefined));
  }
  progress[Symbol.dispose]();
  if (models) {
    const rows = fits.map((f) => [
      f.model,
      f.size,
      f.dtype,
      f.bytes ? bytesText(f.bytes, 1) : "",
      f.leastBytes ? bytesText(f.leastBytes, 1) : "",
      f.refused ?? (f.seconds === null ? "not measured" : `about ${duration(f.seconds)}`),
    ]);
    say(`\n${table(["published model", "size", "type", "memory", "at least", "time"], rows)}`);
    if (!measured) say("--seconds measures how fast this adapter is, and tells times; on a CPU that takes some minutes.");
  }
  if (!checks) say("Whether it computes right was not asked (--no-cases).");
  else say(right ? "Everything that this adapter can do is right here." : "This adapter computes wrong results; please send the report.");
  const adapterOf = { name: gpu.name, kind: caps.kind, has, caps };
  const whole = { versions: of, system: machine, adapters, adapter: adapterOf, reference, speed, models: fits };
  if (json) printJson(whole);
  if (report !== undefined) {
    await writeWhole(report, new TextEncoder().encode(`${visibleJson(whole, 1)}\n`), "--report");
    say(visible(`Report: ${report}`));
  }
  return right ? 0 : 1;
}

/** A bench of some seconds. */
interface Speed {
  /** Of the fastest kernels, by operations and by bytes. */
  readonly gflops: number;
  readonly gbytes: number;
  /** What the embedded model makes by default, and how long it takes. */
  readonly video: string;
  readonly seconds: number;
}

/** Measures the embedded model's kernels anew. Null where the user wants no measurements. */
async function speedOf(gpu: Gpu, { signal, progress }: { signal: AbortSignal; progress: Progress }): Promise<Speed | null> {
  await using model = await CogVideoX.open(EMBEDDED_MODEL, { gpu });
  const onProgress = (done: number, what: string): void => progress.report("bench", done, what);
  const rates = await ratesUnlessOff(model, { again: true, signal, onProgress });
  if (!rates) return null;
  const all = Object.values(rates.kernels).flat();
  const most = (of: (rate: KernelRate) => number): number => Math.max(...all.map((rate) => of(rate) / rate.seconds / 1e9));
  const { width, height, frames } = model.defaults;
  return {
    gflops: most(({ flops }) => flops),
    gbytes: most(({ bytes }) => bytes),
    video: `${width}×${height}, ${frames} frames`,
    seconds: secondsOf(model.times(rates)),
  };
}

/** What is missing without a feature. */
const WITHOUT: Readonly<Record<string, string>> = {
  "shader-f16": "weights and activations take twice the memory, in f32; a newer driver or browser may have it",
  subgroups: "kernels that share values in a subgroup are replaced by slower ones",
  "subgroup matrices": "no matrix cores; other kernels are chosen",
  "timestamp-query": "--profile counts kernels without their times",
};
