/** What the command leaves: videos, latents, the profile, and lines that say so. */
import { join, resolve } from "node:path";
import { peakResidentBytes } from "#platform";
import { bytesText } from "../../base/units.ts";
import { visible } from "../../base/visible.ts";
import type { Profile } from "../../gpu/profile.ts";
import type { DenoiseState } from "../../models/cogvideox/model.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { GenerationRequest } from "../../pipelines/cogvideox/request.ts";
import type { MeasuredRates } from "../../pipelines/cogvideox/seconds.ts";
import { writeLatents } from "../../pipelines/latents-file.ts";
import { savedRun } from "../../pipelines/saved-run.ts";
import { stepsText } from "../../pipelines/settings.ts";
import type { Video } from "../../pipelines/video.ts";
import { encodeVideo } from "../../video/encode.ts";
import type { Attempts } from "../attempts.ts";
import { writeWhole } from "../files.ts";
import { print } from "../terminal/output.ts";
import type { Progress } from "../terminal/progress.ts";
import { table } from "../terminal/table.ts";
import { stageTable, timeTable } from "../stage-table.ts";
import { tuningLine } from "../tuning-line.ts";

/** Where a video goes that is given no place. */
export function defaultOutput({ options: { prompt }, seed, settings: { frames } }: GenerationRequest): string {
  // A name has at most 255 bytes, and letters have up to four.
  const letters = [...prompt.toLowerCase().replace(/[^\p{L}\p{M}\p{N}]+/gu, "-")].slice(0, 60);
  while (Buffer.byteLength(letters.join("")) > 120) letters.pop();
  const name = letters.join("").replace(/^-|-$/g, "") || "video";
  return join("outputs", `${name}-${seed}.${frames === 1 ? "png" : "mp4"}`);
}

/** Says what is about to be made. */
export function printRequest({ gpu, dtype }: CogVideoX, { settings: s, seed, task, options }: GenerationRequest, from: string): void {
  print(`${gpu.name}${gpu.caps.kind === "software" ? " (software)" : ""}, ${dtype}`);
  if (gpu.advice) print(gpu.advice);
  const frames = s.frames === 1 ? "frame" : `frames at ${s.fps} a second`;
  const samples = (options.samples ?? 1) > 1 ? `, ${options.samples} samples` : "";
  print(
    visible(
      `${s.width}×${s.height}, ${s.frames} ${frames}, ${stepsText(s)}, guidance ${s.guidance}, ` +
        `seed ${seed}${samples}${task === "text" ? "" : `, from ${from}`}`,
    ),
  );
}

/** Says what a generation will take, where it is not to be made. */
export function printPlan(model: CogVideoX, request: GenerationRequest, from: string, rates: MeasuredRates | undefined): void {
  printRequest(model, request, from);
  print(`\n${stageTable(request.requirements)}`);
  if (rates) print(timeTable(model.times(rates, request)));
  const { limit } = request.plan;
  if (limit !== undefined) print(`Planned within ${bytesText(limit, 1)} of the adapter's memory.`);
}

/** Writes every sample's video, the later ones also where an earlier one cannot be written. Resolves to the paths of those that were. */
export async function writeVideos(
  made: Video,
  outs: readonly string[],
  { results, progress, signal, metadata = true }: { results: Attempts; progress: Progress; signal: AbortSignal; metadata?: boolean },
): Promise<string[]> {
  const written: string[] = [];
  for (const [i, path] of outs.entries()) {
    const encode = () =>
      encodeVideo(made.samples[i]!, {
        path,
        fps: made.settings.fps,
        ...(metadata ? { made: made.made } : {}),
        signal,
        onProgress: (frames) => progress.report("write", (i + frames / (made.frames.length + 1)) / outs.length),
      });
    if (await results.attempt(encode)) written.push(resolve(path));
  }
  progress.report("write", 1);
  return written;
}

/** Writes latents that a run can go on from. */
export async function saveState(path: string, state: DenoiseState, model: CogVideoX, request: GenerationRequest): Promise<void> {
  await writeWhole(path, writeLatents(savedRun(model, request, state)), "--save-latents");
}

/** Seconds a stage, and what it took. */
export function printSummary(model: CogVideoX, progress: Progress): void {
  print(`\n${progress.summary()}`);
  const { compiled, ms } = model.gpu.pipelines.stats;
  const peak = peakResidentBytes();
  print(
    `${compiled} pipelines compiled in ${(ms / 1000).toFixed(1)} s${peak ? `, peak resident memory ${(peak / 1e6).toFixed(0)} MB` : ""}`,
  );
}

/** Prints the time of every kernel, unless `quiet`, and writes the trace. */
export async function reportProfile(profile: Profile, model: CogVideoX, path: string, quiet = false): Promise<void> {
  if (!quiet) printProfile(profile, model);
  await writeWhole(path, new TextEncoder().encode(profile.chromeTrace()), "--profile");
  if (!quiet) print(visible(`Trace for chrome://tracing or ui.perfetto.dev: ${path}`));
}

function printProfile(profile: Profile, model: CogVideoX): void {
  if (!profile.timed) print("This adapter has no timestamps: the profile holds counts and costs alone.");
  print(
    table(
      ["kernel", "chosen", "runs", "ms", "share", "GFLOP/s", "GB/s"],
      profile
        .rows()
        .map((r) => [
          r.label,
          r.chosen,
          String(r.count),
          r.ms.toFixed(1),
          `${(100 * r.share).toFixed(1)} %`,
          r.gflops.toFixed(2),
          r.gbytes.toFixed(2),
        ]),
    ),
  );
  print(tuningLine(model));
  const { read, overlapped } = profile.reading();
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  if (read > 0) print(`Weights that come and go were read for ${seconds(read)}; for ${seconds(overlapped)} of it the adapter was at work.`);
}
