/** What a generation is asked to do: defaults, and the rules that sizes and frames must follow. */
import { CogwheelError } from "../base/errors.ts";
import type { SchedulerKind } from "../diffusion/scheduler.ts";
import { expectOption } from "./options/check.ts";
import type { OptionsOf } from "./options/option.ts";
import { SETTINGS } from "./options/table.ts";

type All = OptionsOf<typeof SETTINGS>;

/** What a checkpoint's advice completes. Timesteps that nobody chose follow from the number of steps. */
export type Settings = Required<Omit<All, "timesteps">> & Pick<All, "timesteps">;

/** What settings follow from, of a checkpoint. */
export interface ModelRules {
  /** Pixels a latent pixel, frames a latent frame. */
  spatial: number;
  temporal: number;
  patchSize: number;
  sampleHeight: number;
  sampleWidth: number;
  sampleFrames: number;
  /** CogVideoX 1.5, whose config says 300 × 300 for "any size" and which runs at 16 frames a second. */
  anySize: boolean;
  /** Latent frames in a patch; latents are padded in front to a multiple. */
  patchSizeT: number;
  /** What goes into the transformer beside the noise, told from its channels and the class of the pipeline. */
  takes: "text" | "image" | "control" | "image or control" | "inpaint";
  scheduler: SchedulerKind;
}

/** The published advice: 50 steps, guidance 6; the size, length and frame rate that the model was trained at. */
export function defaultSettings(rules: ModelRules): Settings {
  const size = rules.anySize
    ? { height: 768, width: 1360, fps: 16 }
    : { height: rules.sampleHeight * rules.spatial, width: rules.sampleWidth * rules.spatial, fps: 8 };
  return {
    ...size,
    frames: rules.sampleFrames,
    steps: 50,
    guidance: 6,
    scheduler: rules.scheduler,
  };
}

const NAMES = Object.keys(SETTINGS) as (keyof Settings)[];

/** The settings among other options, without those that were left open. */
export function settingsOf(options: Partial<Settings>): Partial<Settings> {
  return Object.fromEntries(NAMES.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]]])));
}

/**
 * Settings over others. A number of steps and a list of timesteps say the same thing: the word that comes later holds, so that 50 steps
 * that are asked for are not those of a list that a checkpoint advises.
 */
export function completed(base: Settings, ...over: readonly Partial<Settings>[]): Settings {
  return over.reduce<Settings>((under, options) => {
    const told = settingsOf(options);
    const { timesteps: listed, ...rest } = under;
    if (told.timesteps !== undefined) return { ...rest, steps: told.timesteps.length, ...told };
    return { ...rest, ...(told.steps === undefined && listed !== undefined ? { timesteps: listed } : {}), ...told };
  }, base);
}

/** The steps in words, with their timesteps where these were chosen. */
export const stepsText = ({ steps, scheduler, timesteps }: Settings): string =>
  `${steps} ${scheduler} step${steps === 1 ? "" : "s"}${timesteps ? ` at ${timesteps.join(", ")}` : ""}`;

/** `generation.json` of a checkpoint: its maker's advice, under diffusers' argument names. */
export function adviceFrom(json: Record<string, unknown>): Partial<Settings> {
  const told = NAMES.filter((name) => Object.hasOwn(json, SETTINGS[name].advice!));
  return Object.fromEntries(told.map((name) => [name, json[SETTINGS[name].advice!]]));
}

/** A minute of 1360 × 768 in 1.5's 16 frames a second has half as many; far beyond, not even a plan can be made. */
const MAX_PIXELS = 2 ** 31;

/** Throws unless the model can make exactly this. */
export function checkSettings(s: Settings, rules: ModelRules): void {
  const multiple = rules.spatial * rules.patchSize;
  for (const side of ["height", "width"] as const) {
    if (!Number.isInteger(s[side]) || s[side] < multiple || s[side] % multiple) {
      const near = Math.max(multiple, Math.round(s[side] / multiple) * multiple);
      throw new CogwheelError(
        "generate",
        `height and width must be multiples of ${multiple}, got ${side} ${s[side]}; ` +
          `the nearest is ${Number.isFinite(near) ? near : multiple}`,
      );
    }
  }
  latentFrames(s.frames, rules.temporal);
  if (s.height * s.width * s.frames > MAX_PIXELS)
    throw new CogwheelError(
      "generate",
      `a video may have ${MAX_PIXELS} pixels in all, got ${s.width} × ${s.height} × ${s.frames}; choose a smaller size or fewer frames`,
    );
  for (const name of NAMES) if (s[name] !== undefined) expectOption(name, s[name]);
  if (s.timesteps && s.timesteps.length !== s.steps)
    throw new CogwheelError(
      "generate",
      `steps must be as many as the timesteps that are listed, got ${s.steps} and ${s.timesteps.length}; leave one of both out`,
    );
}

/**
 * Latent frames of a video. The decoder takes latents in pairs: an odd number n gives r(n − 1) + 1 frames, the first alone,
 * an even number r·n; so with r = 4 a model makes 1, 8, 9, 16, 17, … frames.
 */
export function latentFrames(frames: number, temporal: number): number {
  const period = 2 * temporal;
  if (Number.isInteger(frames) && frames >= 1) {
    if (frames % period === 1) return (frames - 1) / temporal + 1;
    if (frames % period === 0) return frames / temporal;
  }
  const below = Number.isFinite(frames) && frames > 1 ? Math.max(0, Math.floor(frames / period)) : 0;
  const near = [below * period, below * period + 1, (below + 1) * period, (below + 1) * period + 1].filter((n) => n > 0);
  throw new CogwheelError(
    "generate",
    `this model makes ${period}·k or ${period}·k + 1 frames, got ${frames}; the nearest are ${near.join(", ")}`,
  );
}
