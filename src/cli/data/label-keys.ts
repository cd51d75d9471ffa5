/** What `label` of a data config can be told: which model judges clips, how, and what may be spent. */
import { key, type TrainKey } from "../train/keys.ts";
import { VISION_KEYS, type VisionConfig } from "./vision-keys.ts";

export const LABEL_KEYS = {
  url: key("text", "OpenAI-compatible address of a model that sees, or transformers:MODEL, which judges clips", "clips have no labels"),
  ...VISION_KEYS,
  maxCost: key("number", "the most that labels of a run may cost, by these prices", "no limit", { min: 0 }),
  maxRequests: key("whole", "requests for labels of a run at most", "no limit", { min: 1 }),
  frames: key("whole", "frames of a request, spread over the clip", "6", { min: 1 }),
  longest: key("whole", "pixels of a frame's longer side", "512", { min: 16 }),
  quality: key("whole", "of frames as JPEG, 1 to 100", "85", { min: 1 }),
  temperature: key("number", "of the answers", "0", { min: 0 }),
  seed: key("whole", "passed to the server", "0", { min: 0 }),
  instructions: key("path", "text file with what the model is told, in place of the product's own", "the product's own"),
  all: key("flag", "label clips too that other measures drop", "false"),
} satisfies Readonly<Record<string, TrainKey>>;

/** What was given, checked. */
export interface LabelConfig extends VisionConfig {
  readonly maxCost?: number;
  readonly maxRequests?: number;
  readonly frames?: number;
  readonly longest?: number;
  readonly quality?: number;
  readonly temperature?: number;
  readonly seed?: number;
  readonly instructions?: string;
  readonly all?: boolean;
}
