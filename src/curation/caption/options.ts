/** How clips are captioned: by the paper's steps or in one request, and by whom. */
import type { EndpointOptions } from "../endpoint/options.ts";
import type { PictureOptions } from "../endpoint/picture.ts";
import type { Rules } from "../rules/rules.ts";

/** `steps`: a short caption, frames densely, and one caption out of them. `clip`: all frames in one request. */
export type CaptionPath = "steps" | "clip";

/** What decides the captions. */
export interface CaptionOptions {
  readonly path: CaptionPath;
  /** Seconds between frames that are described, of `steps`. Default 2, as the paper has it. */
  readonly every: number;
  /** Frames of one request, of `clip`. Default 24, as the authors' captioner takes. */
  readonly frames: number;
  readonly picture: PictureOptions;
  readonly rules: Rules;
  readonly temperature: number;
  readonly seed: number;
}

export const CAPTION_DEFAULTS: Omit<CaptionOptions, "rules"> = {
  path: "steps",
  every: 2,
  frames: 24,
  picture: { longest: 768, quality: 85 },
  temperature: 0.1,
  seed: 0,
};

/** Who answers: a model that sees, and one that writes the caption out of what it saw. */
export interface CaptionEndpoints {
  readonly vision: EndpointOptions;
  /** Default: the same. */
  readonly summariser?: EndpointOptions;
}
