/** How long a generation will take and how much memory, in a line, before anything is loaded. */
import { bytesText } from "../../base/units.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { GenerationRequest } from "../../pipelines/cogvideox/request.ts";
import type { MeasuredRates } from "../../gpu/rates.ts";
import type { StageTime } from "../../pipelines/cogvideox/seconds.ts";
import { ratesUnlessOff } from "../../tuning/rates.ts";
import { roughRates, type RoughRates } from "../../tuning/rough.ts";
import { secondsOf } from "../stage-table.ts";
import { duration } from "../terminal/progress.ts";
import type { GenerateWork } from "./work.ts";

/** Work from which on it is worth the seconds of a probe: two minutes of a CPU adapter, which is probed for a dozen seconds. */
const WORTH_FLOPS = 1e13;
/** From so long on a CPU adapter, what would take less is told too. */
const LONG_SECONDS = 1800;

/** Operations of all runs. */
function flopsOf({ requirements, plan, options }: GenerationRequest): number {
  const times = { transformer: plan.steps.length - (plan.given?.step ?? 0), decoder: options.samples ?? 1 };
  return requirements.reduce((sum, { stage, flops }) => sum + flops * (times[stage as keyof typeof times] ?? 1), 0);
}

/**
 * The rates that a request's times are told from. What is not known is measured first, and kept: of little work at a first look, which
 * takes about a second. Undefined where the user wants no measurements.
 */
export async function forecastRates(
  request: GenerationRequest,
  { model, progress, signal }: Omit<GenerateWork, "inBatch">,
): Promise<RoughRates | undefined> {
  const look = flopsOf(request) < WORTH_FLOPS ? await roughRates(model, request, signal) : undefined;
  if (look) return look;
  const rates = await ratesUnlessOff(model, { signal, onProgress: (done, what) => progress.report("probe", done, what) });
  return rates && { rates, rough: rates.rough ?? false };
}

/** Says it. @param quiet warn alone of what takes long, and measure nothing for it where that is little work or a GPU's */
export async function sayForecast(request: GenerationRequest, work: Omit<GenerateWork, "inBatch">, quiet = false): Promise<void> {
  const { model, progress } = work;
  if (quiet && (model.gpu.caps.kind === "hardware" || flopsOf(request) < WORTH_FLOPS)) return;
  const known = await forecastRates(request, work);
  if (!known) return;
  // Progress tells what is left from the start: by the first step alone it would take for every step what a driver compiles in that one.
  if (known.rough) model.useRates(known.rates);
  const { line, advice } = forecast(model, request, known.rates, known.rough);
  if (!quiet) progress.say(line);
  if (advice) progress.note(advice);
}

/** The line, and for whoever computes long on a CPU what takes less. @param rough are the rates a first look's? */
export function forecast(
  model: CogVideoX,
  request: GenerationRequest,
  rates: MeasuredRates,
  rough = false,
): { line: string; advice?: string } {
  const times = model.times(rates, request);
  const seconds = secondsOf(times);
  const most = Math.max(...request.requirements.map(({ peak }) => peak));
  const sum = (of: (time: StageTime) => number | undefined): number => times.reduce((all, time) => all + (of(time) ?? 0), 0);
  const parts: [string, number][] = [
    ["load", sum(({ loadSeconds }) => loadSeconds)],
    ["compile", sum(({ pipelineSeconds, firstRunSeconds }) => pipelineSeconds + firstRunSeconds)],
    ...times.map(({ names: [, work], workSeconds }): [string, number] => [work, workSeconds]),
  ];
  const told = parts.filter(([, s]) => s >= 0.05).map(([name, s]) => `${name} ${duration(s)}`);
  const line =
    `${rough ? "Roughly" : "About"} ${duration(seconds)} on this adapter${told.length ? ` (${told.join(", ")})` : ""}, ` +
    `${bytesText(most, 1)} of its memory.`;
  if (model.gpu.caps.kind === "hardware" || seconds < LONG_SECONDS) return { line };
  const less = smaller(model, request, rates).map(({ flags, seconds }) => `${flags} about ${duration(seconds)}`);
  return {
    line,
    advice:
      `[generate] ${duration(seconds)} is long: this adapter computes on the CPU, and a GPU is some hundred times as fast` +
      (less.length
        ? `. Here ${less.join(", ")} would take less; Ctrl-C stops, and keeps what is there`
        : "; Ctrl-C stops, and keeps what is there"),
  };
}

/** Fewer frames, then half the sides too, as far as the model makes such. */
function smaller(model: CogVideoX, { settings, task }: GenerationRequest, rates: MeasuredRates): { flags: string; seconds: number }[] {
  const { spatial, patchSize } = model.rules;
  const step = spatial * patchSize;
  const half = (side: number): number => Math.max(step, Math.round(side / 2 / step) * step);
  const frames = settings.frames > 17 ? 17 : 1;
  const size = { width: half(settings.width), height: half(settings.height) };
  const ways = [
    { flags: `--frames ${frames}`, options: { frames } },
    { flags: `--size ${size.width}x${size.height} --frames ${frames}`, options: { ...size, frames } },
  ];
  return ways.flatMap(({ flags, options }) => {
    try {
      const times: StageTime[] = model.times(rates, { ...settings, ...options, task });
      return [{ flags, seconds: secondsOf(times) }];
    } catch {
      return []; // a model that makes one size alone
    }
  });
}
