/** `cogwheel inspect`: what a checkpoint holds, and what a generation with it will take. Loads no weights. */
import { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { MeasuredRates } from "../gpu/rates.ts";
import { completed, stepsText, type Settings } from "../pipelines/settings.ts";
import { elements } from "../graph/dtype.ts";
import { bytesText } from "../base/units.ts";
import { defined } from "../pipelines/options.ts";
import type { StageTime } from "../pipelines/cogvideox/seconds.ts";
import { componentInputs } from "./component-inputs.ts";
import { checkOutputFile } from "./files.ts";
import type { ModelDeviceFlags, FileFlags } from "./flags.ts";
import { complain, print, printJson } from "./terminal/output.ts";
import { shortened, visible } from "../base/visible.ts";
import { table } from "./terminal/table.ts";
import { limitTable, secondsOf, stageTable, timeTable, type LimitedPlan } from "./stage-table.ts";
import { tuningLine } from "./tuning-line.ts";
import { Progress } from "./terminal/progress.ts";
import { ratesUnlessOff } from "../tuning/rates.ts";

export interface InspectOptions extends ModelDeviceFlags, FileFlags {
  json?: boolean;
  variant?: string;
  /** List every weight. */
  weights?: boolean;
  /** List the kernels that were chosen among several. */
  kernels?: boolean;
  /** A page with the memory's forecast. */
  report?: string;
  /** Limits of memory; of several, how a generation keeps within each. */
  memory?: readonly number[];
}

export async function inspectModel(folder: string, settings: Partial<Settings>, options: InspectOptions): Promise<void> {
  const { json, adapter, dtype, variant, weights, kernels, report, memory = [] } = options;
  if (report !== undefined) await checkOutputFile(report, "--report");
  // Headers are all that is read: of a model on the hub they come over the network.
  const hub = { download: false, onWarning: (message: string) => complain(message) };
  await using model = await CogVideoX.open(folder, {
    ...defined({ adapter, dtype, variant }),
    ...(await componentInputs(options)),
    hub,
    onWarning: hub.onWarning,
  });
  const { checkpoint } = model;
  const components = [...checkpoint.components.values()].map((c) => ({
    component: c.name,
    class: c.className,
    files: c.weights?.files.length ?? 0,
    weights: c.weights?.size ?? 0,
    parameters: c.weights ? [...c.weights].reduce((n, [, w]) => n + elements(w.shape), 0) : 0,
    types: c.weights ? [...new Set([...c.weights].map(([, w]) => w.dtype))].join(" ") : "",
    bytes: c.weights?.totalBytes ?? 0,
  }));
  const requested = completed(model.defaults, settings);
  const [limit] = memory;
  const told = { ...settings, ...defined({ memoryBytes: memory.length === 1 ? limit : undefined }) };
  const rates = await measured(model);
  const requirements = model.requirements(told);
  const times = rates && model.times(rates, told);
  const limits = memory.map((memoryBytes): LimitedPlan & { times?: readonly StageTime[] } => {
    const within = { ...settings, memoryBytes };
    const stages = model.requirements(within);
    const fits = stages.every(({ peak }) => peak <= memoryBytes);
    const times = rates && model.times(rates, within);
    return { memoryBytes, stages, fits, ...(times ? { times } : {}), ...(times && fits ? { seconds: secondsOf(times) } : {}) };
  });
  const least = memory.length ? model.leastMemoryBytes(settings) : undefined;
  if (report !== undefined) {
    const { writeInspectReport } = await import("./inspect-report.ts");
    const whole = { stages: requirements, ...defined({ times }) };
    const plans = limits.map(({ memoryBytes, stages, times }) => ({ limit: memoryBytes, stages, ...defined({ times }) }));
    await writeInspectReport(report, model, requested, plans.length ? plans : [whole]);
  }
  if (json) {
    printJson({
      class: checkpoint.className,
      components,
      configs: model.configs,
      adapter: model.gpu.name,
      dtype: model.dtype,
      tuning: model.gpu.tuning?.path ?? null,
      settings: requested,
      requirements,
      times: times ?? null,
      ...(least === undefined ? {} : { limits: limits.map(({ times: _, ...limit }) => limit), leastMemoryBytes: least }),
    });
    return;
  }
  print(`${shortened(visible(`${checkpoint.className} in ${checkpoint.source.label}`))}\n`);
  print(
    table(
      ["component", "class", "files", "weights", "parameters", "types", "size"],
      components.map((c) => [
        c.component,
        c.class,
        String(c.files),
        String(c.weights),
        c.parameters.toLocaleString("en"),
        c.types,
        bytesText(c.bytes, 1),
      ]),
    ),
  );
  if (weights) {
    for (const c of checkpoint.components.values()) {
      if (c.weights)
        print(
          table(
            [c.name, "dtype", "shape"],
            [...c.weights].map(([name, w]) => [name, w.dtype, `[${w.shape.join(", ")}]`]),
          ),
        );
    }
  }
  const { width, height, frames, guidance, fps } = requested;
  print(
    `a generation of ${width}×${height}, ${frames} frames at ${fps} a second, ${stepsText(requested)}, ` +
      `guidance ${guidance}, ${model.dtype} on ${model.gpu.name} takes\n`,
  );
  print(stageTable(requirements));
  print("Stages follow one another; each gives back its memory before the next begins. The transformer runs once a step.");
  if (rates) print(`\n${timeTable(times!, rates.rough)}`);
  if (least !== undefined) print(`\n${limitTable(limits, least)}`);
  const choices = [...new Map(requirements.flatMap((r) => r.choices.map((c) => [c.work, c] as const))).values()];
  if (kernels)
    print(
      `\n${table(
        ["work", "kernel", "chosen"],
        choices.map((c) => [c.work, c.variant, c.tuned ? "tuned" : "by capability"]),
      )}`,
    );
  print(
    `${tuningLine(model)} ${choices.filter((c) => c.tuned).length} of ${choices.length} kinds ` +
      `of work were measured${kernels ? "" : " (--kernels lists them)"}.`,
  );
}

/** Rates to tell times from; what is measured for them is shown while it lasts. */
async function measured(model: CogVideoX): Promise<MeasuredRates | undefined> {
  using progress = new Progress();
  return await ratesUnlessOff(model, { onProgress: (done, what) => progress.report("probe", done, what) });
}
