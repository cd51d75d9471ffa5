/** A prepared generation, run: encode the prompt, prepare latents, denoise, decode, return. */
import { kernelsVersion, packageVersion } from "../../../build/kernels-version.ts";
import type { GenerationStep } from "../generation.ts";
import { GenerationInterrupted } from "../interrupted.ts";
import { adapterNames } from "../made-with.ts";
import type { Overall } from "../overall.ts";
import { savedSettings } from "../options/saved.ts";
import { StageClock } from "../stage-clock.ts";
import { Video } from "../video.ts";
import { decode } from "./decode.ts";
import { denoise } from "./denoise.ts";
import { SeededDraws } from "./draws.ts";
import { encodePrompt } from "./prompt.ts";
import type { GenerationRequest } from "./request.ts";
import type { Run } from "./running.ts";
import { startState } from "./start.ts";

/** A run of a request, from its first draw. @param options the request's, with callbacks and the signal as this run is to use them */
export const runOf = (request: GenerationRequest, options = request.options, overall?: Overall): Run => ({
  request,
  options,
  draws: request.plan.ready?.draws ?? new SeededDraws(request.seed, options.share?.sample),
  clock: new StageClock(options.onProgress, overall),
});

export async function generate(run: Run, emit: (step: GenerationStep) => void): Promise<Video> {
  const { request, options, clock } = run;
  const { settings, seed, task, plan } = request;
  const { given, steps } = plan;
  const latents =
    given && given.step === steps.length
      ? given.latents // what is done is decoded again, which needs no prompt
      : await denoise(run, run.text ?? (await encodePrompt(run)), await startState(run), emit);
  const state = { step: steps.length, latents, task };
  const decoded = options.share?.latentsOnly
    ? { samples: [], textures: [] }
    : await decode(run, latents).catch((error: unknown) => {
        throw new GenerationInterrupted(state, steps.length, error, options.signal?.aborted);
      });
  const made = {
    ...{ model: request.model.name, dtype: request.model.dtype, version: packageVersion, kernels: kernelsVersion },
    ...savedSettings({ ...options, ...settings, seed, loras: adapterNames(options.loras), task }),
  };
  return new Video(decoded.samples, { ...settings, seed, prompt: options.prompt }, state, clock.seconds, made, decoded.textures);
}
