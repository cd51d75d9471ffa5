/** Saved latents: a safetensors file with what a run needs to be finished, or decoded again. */
import { writeSafetensors } from "../files/safetensors.ts";
import { expectFloats } from "../base/finite.ts";
import type { DenoiseState } from "../models/cogvideox/model.ts";
import type { SavedSettings } from "./options/saved.ts";
import type { VideoLatents } from "./video-vae.ts";

/** What a file of a run's latents says that it is. */
export const LATENTS_FORMAT = "cogwheel-latents/1";

/** Latents of a video that an encoder made: no run goes on from them, so they have a format of their own. */
export const VIDEO_LATENTS_FORMAT = "cogwheel-video-latents/1";

/** What a file of latents keeps of a run. */
export interface SavedRun {
  readonly state: DenoiseState;
  /** [n, F, C, H, W] */
  readonly shape: readonly number[];
  /** What the run was asked for; a continued run takes these where it is not told otherwise. */
  readonly settings: SavedSettings;
}

/** Throws for a state that no run could go on from: nothing is written that `readLatents` refuses. */
export function writeLatents({ state, shape, settings }: SavedRun): Uint8Array {
  for (const name of ["latents", "original", "condition"] as const)
    if (name === "latents" || state[name] !== undefined) expectFloats(state[name], "latents", name);
  return writeSafetensors(
    {
      latents: { dtype: "F32", shape: [...shape], data: state.latents },
      ...(state.original ? { original: { dtype: "F32" as const, shape: [...shape], data: state.original } } : {}),
      ...(state.condition
        ? {
            condition: {
              dtype: "F32" as const,
              shape: [shape[0]!, shape[1]!, state.condition.length / (shape[0]! * shape[1]! * shape[3]! * shape[4]!), shape[3]!, shape[4]!],
              data: state.condition,
            },
          }
        : {}),
    },
    {
      format: LATENTS_FORMAT,
      step: String(state.step),
      settings: JSON.stringify(settings),
      ...(state.givenNoise ? { given_noise: "true" } : {}),
    },
  );
}

/** An encoded video as a safetensors file: `latents` [1, F, C, H, W], times the scaling factor. */
export function writeVideoLatents({ data, frames, channels, height, width }: VideoLatents, { fps }: { fps?: number } = {}): Uint8Array {
  expectFloats(data, "latents", "an encoded video's latents");
  return writeSafetensors(
    { latents: { dtype: "F32", shape: [1, frames, channels, height, width], data } },
    { format: VIDEO_LATENTS_FORMAT, ...(fps === undefined ? {} : { fps: String(fps) }) },
  );
}
