/** What `generate --json` prints: what was planned, and what was made. */
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { GenerationRequest } from "../../pipelines/cogvideox/request.ts";
import type { RoughRates } from "../../tuning/rough.ts";
import type { Video } from "../../pipelines/video.ts";

/** @param known to tell times from, where they were measured */
export function requestJson(model: CogVideoX, request: GenerationRequest, known?: RoughRates): object {
  const { settings, seed, task, tiling, requirements, warnings, plan } = request;
  return {
    adapter: model.gpu.name,
    dtype: model.dtype,
    settings,
    seed,
    task,
    tiling,
    memoryBytes: plan.limit ?? null,
    requirements,
    ...(known ? { times: model.times(known.rates, request), rough: known.rough } : {}),
    warnings,
  };
}

/** @param files the videos that were written @param latents the file of latents @param weights which ones, by a digest */
export const madeJson = (
  model: CogVideoX,
  made: Video,
  { files, latents, weights }: { files: readonly string[]; latents: string | undefined; weights: string | undefined },
): object => ({
  seconds: made.seconds,
  peakBytes: model.gpu.memory.peak,
  files,
  latents: latents ?? null,
  weights: weights ?? null,
});
