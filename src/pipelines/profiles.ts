/**
 * Where the published implementations disagree: one profile chooses one side of every switch. docs/profiles.md is the table of
 * them, with sources; only `diffusers` can be proven against an implementation that can be installed.
 */
import { dynamicGuidance } from "../diffusion/scheduler.ts";
import { expectOption } from "./options/check.ts";
import { REQUESTS, type ReferenceProfile } from "./options/table.ts";

export type { ReferenceProfile } from "./options/table.ts";

export interface ProfileSwitches {
  /** What an image's latents are multiplied with in checkpoints that say `invert_scale_latents` (1.5): 1 / scaling factor, or nothing. */
  readonly invertedImageScale: "inverse" | "none";
  /** What dynamic guidance follows: the raw timestep (0 to 999), or how much of the run is done (0 to 1). */
  readonly dynamicGuidance: "timestep" | "progress";
  /** Text tokens of checkpoints with patches in time (1.5), at most; others take what their config says. */
  readonly textLengthInTime: number;
}

const SWITCHES: Readonly<Record<ReferenceProfile, ProfileSwitches>> = {
  diffusers: { invertedImageScale: "inverse", dynamicGuidance: "timestep", textLengthInTime: Infinity },
  sat: { invertedImageScale: "none", dynamicGuidance: "timestep", textLengthInTime: 224 },
  corrected: { invertedImageScale: "none", dynamicGuidance: "progress", textLengthInTime: Infinity },
};

export function switchesOf(profile: ReferenceProfile = REQUESTS.profile.fallback!): ProfileSwitches {
  expectOption("profile", profile);
  return SWITCHES[profile];
}

/** Text tokens of a prompt. */
export function textLength(
  { textLengthInTime }: ProfileSwitches,
  config: { patch_size_t: number | null; max_text_seq_length: number },
): number {
  return config.patch_size_t === null ? config.max_text_seq_length : Math.min(config.max_text_seq_length, textLengthInTime);
}

/**
 * Dynamic guidance for step `i` of `steps`. With `progress` the formula's (N − t) / N, which presumes that t falls from N to 0,
 * is i / N: guidance rises once, from 1 towards 1 + scale.
 */
export function dynamicGuidanceAt(
  { dynamicGuidance: follows }: ProfileSwitches,
  scale: number,
  steps: number,
  i: number,
  timestep: number,
): number {
  return dynamicGuidance(scale, steps, follows === "progress" ? steps - i : timestep);
}
