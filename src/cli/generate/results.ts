/** What the command leaves: videos, latents, the profile, and lines that say so. */
import { join, resolve } from "node:path";
import { peakResidentBytes } from "#platform";
import { bytesText } from "../../base/units.ts";
import { visible } from "../../base/visible.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { Profile } from "../../gpu/profile.ts";
import type { DenoiseState } from "../../models/cogvideox/model.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { GenerationRequest } from "../../pipelines/cogvideox/request.ts";
import { writeLatents } from "../../pipelines/latents-file.ts";
import type { MadeWith } from "../../pipelines/made-with.ts";
import { defined } from "../../pipelines/options.ts";
import { savedRun } from "../../pipelines/saved-run.ts";
import { stepsText } from "../../pipelines/settings.ts";
import type { Video } from "../../pipelines/video.ts";
import { encodeVideo } from "../../video/encode.ts";
import type { Attempts } from "../attempts.ts";
import { writeWhole } from "../files.ts";
import { isPiped, pipedFormat } from "../output-paths.ts";
import { print, writeBytes } from "../terminal/output.ts";
import { duration, type Progress } from "../terminal/progress.ts";
import { table } from "../terminal/table.ts";
import { stageTable, timeTable } from "../stage-table.ts";
import type { RoughRates } from "../../tuning/rough.ts";
import { tuningLine } from "../tuning-line.ts";

/** Where a video goes that is given no place. */
export function defaultOutput({ options: { prompt }, seed, settings: { frames } }: GenerationRequest): string {
  // A name has at most 255 bytes, and letters have up to four.
  const letters = [...prompt.toLowerCase().replace(/[^\p{L}\p{M}\p{N}]+/gu, "-")].slice(0, 60);
  while (Buffer.byteLength(letters.join("")) > 120) letters.pop();
  const name = letters.join("").replace(/^-|-$/g, "") || "video";
  return join("outputs", `${name}-${seed}.${frames === 1 ? "png" : "mp4"}`);
}

/** Adapters that were named: once is enough for all lines of a batch. */
const named = new WeakSet<Gpu>();

/** Says what is about to be made. */
export function sayRequest(
  say: (text: string) => void,
  { gpu, dtype }: CogVideoX,
  { settings: s, seed, task, options }: GenerationRequest,
  from: string,
): void {
  if (!named.has(gpu)) {
    named.add(gpu);
    say(`${gpu.name}${gpu.caps.kind === "software" ? " (software)" : ""}, ${dtype}`);
    if (gpu.advice) say(gpu.advice);
  }
  const frames = s.frames === 1 ? "frame" : `frames at ${s.fps} a second`;
  const samples = (options.samples ?? 1) > 1 ? `, ${options.samples} samples` : "";
  say(
    visible(
      `${s.width}×${s.height}, ${s.frames} ${frames}, ${stepsText(s)}, guidance ${s.guidance}, ` +
        `seed ${seed}${samples}${task === "text" ? "" : `, from ${from}`}`,
    ),
  );
}

/** Says what a generation will take, where it is not to be made. */
export function printPlan(model: CogVideoX, request: GenerationRequest, from: string, known: RoughRates | undefined): void {
  sayRequest(print, model, request, from);
  print(`\n${stageTable(request.requirements)}`);
  if (known) print(timeTable(model.times(known.rates, request), known.rough));
  const { limit } = request.plan;
  if (limit !== undefined) print(`Planned within ${bytesText(limit, 1)} of the adapter's memory.`);
}

/** Writes every sample's video, the later ones also where an earlier one cannot be written. Resolves to the paths of those that were. */
export async function writeVideos(
  made: Video,
  outs: readonly string[],
  { results, progress, signal, made: madeWith }: { results: Attempts; progress: Progress; signal: AbortSignal; made?: MadeWith },
): Promise<string[]> {
  const written: string[] = [];
  for (const [i, path] of outs.entries()) {
    const encode = async () => {
      const options = {
        fps: made.settings.fps,
        ...defined({ made: madeWith }),
        signal,
        onProgress: (frames: number) => progress.report("write", (i + frames / (made.frames.length + 1)) / outs.length),
      };
      const format = pipedFormat(path, made.settings.frames);
      if (format) await writeBytes(await encodeVideo(made.samples[i]!, { ...options, format }));
      else await encodeVideo(made.samples[i]!, { ...options, path });
    };
    if (await results.attempt(encode)) written.push(isPiped(path) ? path : resolve(path));
  }
  progress.report("write", 1);
  return written;
}

/** Writes latents that a run can go on from. */
export async function saveState(path: string, state: DenoiseState, model: CogVideoX, request: GenerationRequest): Promise<void> {
  await writeWhole(path, writeLatents(savedRun(model, request, state)), "--save-latents");
}

/** How long all stages took together, and what it took. */
export function saySummary(model: CogVideoX, progress: Progress): void {
  progress.say(`${"in all".padEnd(18)} ${duration(Object.values(progress.seconds).reduce((sum, seconds) => sum + seconds, 0))}`);
  const { compiled, ms } = model.gpu.pipelines.stats;
  const peak = peakResidentBytes();
  progress.say(
    `${compiled} pipelines compiled in ${(ms / 1000).toFixed(1)} s${peak ? `, peak resident memory ${(peak / 1e6).toFixed(0)} MB` : ""}`,
  );
}

/** Says the time of every kernel, and writes the trace. */
export async function reportProfile(profile: Profile, model: CogVideoX, path: string, say: (text: string) => void): Promise<void> {
  sayProfile(profile, model, say);
  await writeWhole(path, new TextEncoder().encode(profile.chromeTrace()), "--profile");
  say(visible(`Trace for chrome://tracing or ui.perfetto.dev: ${path}`));
}

function sayProfile(profile: Profile, model: CogVideoX, say: (text: string) => void): void {
  if (!profile.timed) say("This adapter has no timestamps: the profile holds counts and costs alone.");
  say(
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
  say(tuningLine(model));
  const { read, overlapped } = profile.reading();
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  if (read > 0) say(`Weights that come and go were read for ${seconds(read)}; for ${seconds(overlapped)} of it the adapter was at work.`);
}
