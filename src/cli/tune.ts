/** `cogwheel tune`: measures the kernels of a model on this adapter, keeps the choice for this user, and writes all of it into one file. */
import { Gpu } from "../gpu/gpu.ts";
import { tuningFile } from "../gpu/tuning-table.ts";
import { storeTuning } from "../gpu/tuning-store.ts";
import { cachePath } from "../platform/cache-node.ts";
import { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { defined } from "../pipelines/options.ts";
import type { Settings } from "../pipelines/settings.ts";
import type { MeasuredWork } from "../tuning/measure.ts";
import { tune } from "../tuning/tune.ts";
import { shortened, visible, visibleJson } from "../base/visible.ts";
import { Attempts } from "./attempts.ts";
import { checkDistinct, checkOutputFile, writeWhole } from "./files.ts";
import type { ModelDeviceFlags } from "./flags.ts";
import { system, versions } from "./machine.ts";
import { interruptible, Interrupted } from "./terminal/interrupt.ts";
import { print } from "./terminal/output.ts";
import { Progress } from "./terminal/progress.ts";
import { table } from "./terminal/table.ts";

export interface TuneCommandOptions extends ModelDeviceFlags {
  quick?: boolean;
  /** The report. Default: `cogwheel-tuning-….json` here. */
  out?: string;
  /** Keep the choice for this user. Default true. */
  store?: boolean;
}

export async function tuneModel(folder: string, settings: Partial<Settings>, options: TuneCommandOptions): Promise<void> {
  const { adapter, dtype, quick, out, store = true } = options;
  using progress = new Progress();
  using interruption = interruptible((text) => progress.note(text));
  const { signal } = interruption;
  const open = () => Gpu.open({ tuning: false, ...defined({ adapter }) });
  await using gpu = await open();
  const hub = { download: false, signal };
  await using model = await CogVideoX.open(folder, {
    gpu,
    hub,
    configsOnly: true,
    ...defined({ dtype }),
    onWarning: (message) => progress.note(message),
  });
  const path = out ?? `cogwheel-tuning-${tuningFile(gpu.tuningHeader)}`;
  await checkOutputFile(path, "--out");
  await checkDistinct([["--out", path]], [["the command", folder]]);
  // The folder, not the table: whatever lies in its place is replaced.
  if (store) await checkOutputFile(cachePath("tuning", "table"), "XDG_CACHE_HOME, or leave it with --no-store");
  print(
    `${gpu.name}${gpu.caps.kind === "software" ? " (software)" : ""}, ${model.dtype}: ` +
      `measuring the kernels of ${shortened(model.checkpoint.className)}`,
  );
  if (gpu.advice) print(gpu.advice);
  try {
    const report = await tune(model, {
      ...settings,
      ...defined({ quick }),
      signal,
      reopen: open,
      onProgress: (done, work) => progress.report("tune", done, work),
    });
    progress[Symbol.dispose]();
    print(`\n${resultTable(report.works)}`);
    const changed = report.works.filter((w) => w.chosen !== null && w.chosen !== w.candidates[0]!.variant).length;
    const left = report.works.filter((w) => w.chosen === null).length;
    print(
      `${report.works.length} kinds of work in ${report.seconds.toFixed(0)} s: ` +
        `for ${changed} another kernel is faster than the choice by capability${left ? `, ${left} were not measured` : ""}`,
    );
    const whole = { versions: versions(), system: system(), ...report };
    const results = new Attempts(signal);
    const reported = await results.attempt(() => writeWhole(path, new TextEncoder().encode(`${visibleJson(whole, 1)}\n`), "--out"));
    if (store) await results.attempt(async () => print(`Kept for this adapter: ${await storeTuning(report.table)}`));
    if (reported) print(visible(`Report: ${path}`));
    results.throwFailures();
  } catch (error) {
    throw signal.aborted && signal.reason instanceof Interrupted ? signal.reason : error;
  }
}

/** A row a candidate, those of one kind of work together; what was chosen is marked. */
function resultTable(works: readonly MeasuredWork[]): string {
  const rows = works.flatMap(({ key, candidates, chosen, flops, why }) =>
    (why === undefined ? candidates : candidates.slice(0, 1)).map((c, i) => [
      i === 0 ? key : "",
      c.variant,
      c.ms === undefined ? "" : c.ms.toPrecision(3),
      c.ms === undefined ? "" : (flops / c.ms / 1e6).toFixed(1),
      c.variant === chosen ? (i === 0 ? "chosen, as untuned" : "chosen") : (c.why ?? why ?? ""),
    ]),
  );
  return table(["work", "kernel", "ms", "GFLOP/s", ""], rows);
}
