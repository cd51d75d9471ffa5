/** What is saved of a run, so that it can go on elsewhere. */
import type { DenoiseState } from "../models/cogvideox/model.ts";
import type { CogVideoX } from "./cogvideox/pipeline.ts";
import type { GenerationRequest } from "./cogvideox/request.ts";
import type { SavedRun } from "./latents-file.ts";
import { adapterNames } from "./made-with.ts";
import { savedSettings } from "./options/saved.ts";

/** A state of a prepared generation with all that it was asked for, as `writeLatents` takes it. */
export function savedRun(
  { rules, configs }: Pick<CogVideoX, "rules" | "configs">,
  request: GenerationRequest,
  state: DenoiseState,
): SavedRun {
  const { options, settings, seed } = request;
  const count = options.samples ?? 1;
  const [height, width] = [settings.height / rules.spatial, settings.width / rules.spatial];
  const channels = configs.vae.latent_channels;
  return {
    state,
    shape: [count, state.latents.length / (count * channels * height * width), channels, height, width],
    settings: savedSettings({ ...options, ...settings, seed, loras: adapterNames(options.loras), task: state.task }),
  };
}
