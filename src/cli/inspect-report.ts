/**
 * `inspect --report FILE.html`: what a generation will have on the adapter, stage by stage, with the line of what there is. Of several
 * limits of memory each has a picture, for a plan keeps within its own.
 */
import { basename } from "node:path";
import { availableMemoryBytes } from "#platform";
import { escaped } from "../base/html.ts";
import { bytesText } from "../base/units.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { StageTime } from "../pipelines/cogvideox/seconds.ts";
import type { StageMemory } from "../pipelines/requirements.ts";
import { stepsText, type Settings } from "../pipelines/settings.ts";
import { writeWhole } from "./files.ts";
import { system, versions } from "./machine.ts";
import { memoryForecast, type MemoryLine } from "./report/memory.ts";
import { runPage } from "./report/page.ts";
import { plannedTable } from "./report/planned.ts";
import { secondsOf } from "./stage-table.ts";
import { duration } from "./terminal/progress.ts";

/** A generation as it was planned: within a limit, or within what there is. */
export interface InspectedPlan {
  /** Bytes. */
  readonly limit?: number;
  readonly stages: readonly StageMemory[];
  /** Where rates were measured. */
  readonly times?: readonly StageTime[];
}

export async function writeInspectReport(
  path: string,
  model: CogVideoX,
  settings: Settings,
  plans: readonly InspectedPlan[],
): Promise<void> {
  const { gpu, dtype, checkpoint } = model;
  const { width, height, frames, fps, guidance } = settings;
  const { platform, release, arch, cpu, cores, memory } = system();
  const { cogwheel, node, webgpu } = versions();
  const free = gpu.caps.kind === "software" ? availableMemoryBytes() : undefined;
  const page = runPage({
    title: `what a generation with ${basename(checkpoint.source.label)} will take`,
    facts: {
      checkpoint: checkpoint.source.label,
      model: `${checkpoint.className}, ${dtype}`,
      video: `${width}×${height}, ${frames} frames at ${fps} a second, ${stepsText(settings)}, guidance ${guidance}`,
      adapter: `${gpu.name}${gpu.caps.kind === "software" ? " (software)" : ""}`,
      machine: `${cpu}, ${cores} cores, ${bytesText(memory)} of memory, ${platform} ${release} ${arch}`,
      versions: `cogwheel ${cogwheel}, node ${node}${webgpu ? `, dawn ${webgpu}` : ""}`,
    },
    charts: [],
    below: plans.map((plan) => section(plan, free)).join("\n"),
  });
  await writeWhole(path, new TextEncoder().encode(page), "--report");
}

/** @param free bytes, on an adapter that takes them from the machine's memory */
function section({ limit, stages, times }: InspectedPlan, free: number | undefined): string {
  const worst = stages.reduce((a, b) => (b.peak > a.peak ? b : a));
  const line: MemoryLine | undefined =
    limit !== undefined
      ? { name: "the limit", bytes: limit }
      : free !== undefined
        ? { name: "free on this machine", bytes: free }
        : undefined;
  const most = `At most ${bytesText(worst.peak, 1)}, in the ${worst.stage}`;
  const verdict = !line
    ? `${most}. WebGPU does not tell how much memory a GPU has; <code>--memory 8GB</code> draws its line.`
    : worst.peak <= line.bytes
      ? `${most}: it fits, ${bytesText(line.bytes - worst.peak, 1)} stay free.`
      : `<strong>It does not fit:</strong> the ${escaped(worst.stage)} takes ${bytesText(worst.peak, 1)}, ` +
        `${bytesText(worst.peak - line.bytes, 1)} too much.`;
  const widths = times
    ? `Widths are seconds, about ${duration(secondsOf(times))} in all; short stages are drawn wider than they are.`
    : "Widths are no times: nothing was measured here.";
  return (
    `<h2>${limit === undefined ? "memory on the adapter" : `within ${bytesText(limit, 1)}`}</h2><p>${verdict} ${widths}</p>` +
    `${memoryForecast(stages, times, line ? [line] : [])}${plannedTable(stages)}`
  );
}
