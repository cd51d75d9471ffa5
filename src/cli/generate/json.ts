/** What `generate --json` prints: what was planned, and what was made. */
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { GenerationRequest } from "../../pipelines/cogvideox/request.ts";
import type { MeasuredRates } from "../../gpu/rates.ts";
import type { Video } from "../../pipelines/video.ts";

/** @param rates to tell times from, where they were measured */
export function requestJson(model: CogVideoX, request: GenerationRequest, rates?: MeasuredRates): object {
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
    ...(rates ? { times: model.times(rates, request) } : {}),
    warnings,
  };
}

/** @param files the videos that were written @param latents the file of latents */
export const madeJson = (model: CogVideoX, made: Video, files: readonly string[], latents: string | undefined): object => ({
  seconds: made.seconds,
  peakBytes: model.gpu.memory.peak,
  files,
  latents: latents ?? null,
});
