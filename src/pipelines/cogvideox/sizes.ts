/** Settings to sizes: what the transformer and the VAE are planned and run for. */
import type { Task } from "../task.ts";
import type { DenoiseShape } from "../../models/cogvideox/model.ts";
import type { GenerateOptions } from "../options.ts";
import { switchesOf, textLength, type ProfileSwitches } from "../profiles.ts";
import { checkSettings, completed, latentFrames, settingsOf, type Settings } from "../settings.ts";
import { checkFrames, framesWithin } from "../task.ts";
import type { Model } from "./model.ts";
import type { StageSizes } from "./stages.ts";

type Rules = Pick<Model, "rules" | "defaults">;

/**
 * The settings of a generation: what is asked for, completed by the advice of adapters, then by the checkpoint's; a video's or control
 * video's length where no frames are asked for.
 */
export function settingsFor(
  { rules, defaults }: Rules,
  options: Partial<Settings> & Pick<GenerateOptions, "video" | "control">,
  task: Task,
  advice: readonly Partial<Settings>[] = [],
): Settings {
  const settings = { ...completed(defaults, ...advice, options) };
  const input = options.video ?? options.control;
  if (input && options.frames === undefined) settings.frames = framesWithin(input.length, settings, task, rules);
  checkSettings(settings, rules);
  checkFrames(settings.frames, task, rules);
  return settings;
}

/** What the transformer denoises. Checkpoints with patches in time pad latent frames in front. */
export function denoiseShape(
  { configs: { transformer, vae }, rules }: Pick<Model, "configs" | "rules">,
  settings: Settings,
  samples: number,
  switches: ProfileSwitches,
): DenoiseShape {
  const conditionChannels = transformer.in_channels - vae.latent_channels;
  return {
    samples,
    frames: Math.ceil(latentFrames(settings.frames, rules.temporal) / rules.patchSizeT) * rules.patchSizeT,
    height: settings.height / rules.spatial,
    width: settings.width / rules.spatial,
    textLength: textLength(switches, transformer),
    guidance: settings.guidance > 1,
    stochastic: settings.scheduler === "dpm",
    ...(conditionChannels ? { conditionChannels } : {}),
  };
}

/** [n, F, C, h, w] */
export const latentsShape = ({ configs }: Pick<Model, "configs">, { samples, frames, height, width }: DenoiseShape): number[] => [
  samples,
  frames,
  configs.vae.latent_channels,
  height,
  width,
];

/** Sizes of every stage. */
export const stageSizes = ({ rules }: Pick<Model, "rules">, settings: Settings, denoise: DenoiseShape, task: Task): StageSizes => ({
  denoise,
  prompt: true,
  steps: true,
  encodedFrames: task === "text" ? 0 : task === "image" ? 1 : settings.frames,
  decodedLatents: latentFrames(settings.frames, rules.temporal),
});

/** What `requirements` is asked for. */
export type RequirementOptions = Partial<Settings> &
  Pick<GenerateOptions, "samples" | "profile" | "tiling" | "memoryBytes"> & { task?: Task };

/** Sizes of a generation that is not to be run, of which settings alone are known. */
export function requiredSizes(model: Pick<Model, "configs" | "rules" | "defaults">, options: RequirementOptions): StageSizes {
  const { takes } = model.rules;
  const { samples = 1, task = takes === "image or control" ? "image" : takes } = options;
  const settings = settingsFor(model, settingsOf(options), task);
  return stageSizes(model, settings, denoiseShape(model, settings, samples, switchesOf(options.profile)), task);
}
