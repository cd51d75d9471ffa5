/** What `caption` of a data config can be told: which models are asked, how, and what may be spent. Keys stand in the environment alone. */
import { key, type TrainKey } from "../train/keys.ts";
import { VISION_KEYS, type VisionConfig } from "./vision-keys.ts";

export const CAPTION_KEYS = {
  url: key(
    "text",
    "OpenAI-compatible address of a model that sees: http://localhost:8000/v1; or transformers:MODEL",
    "clips keep the captions that people wrote",
  ),
  ...VISION_KEYS,
  summariserUrl: key("text", "address of the model that merges descriptions into a caption", "that of url"),
  summariserModel: key("text", "its name there", "that of model, at the same address"),
  summariserKeyEnv: key("text", "variable of the environment that holds its key", "that of keyEnv, at the same address"),
  summariserInputPrice: key("number", "price of a million tokens of its requests", "that of inputPrice, at the same address", { min: 0 }),
  summariserOutputPrice: key("number", "price of a million tokens of its answers", "that of outputPrice, at the same address", { min: 0 }),
  maxCost: key("number", "the most that a run may cost, by these prices", "no limit", { min: 0 }),
  maxRequests: key("whole", "requests of a run at most", "no limit", { min: 1 }),
  path: key("choice", "steps: a short caption, frames, a merge; clip: all frames in one request", "steps", { choices: ["steps", "clip"] }),
  every: key("number", "seconds between frames that are described (steps)", "2", { min: 0.1 }),
  frames: key("whole", "frames of a request (clip)", "24", { min: 1 }),
  longest: key("whole", "pixels of a frame's longer side", "768", { min: 16 }),
  quality: key("whole", "of frames as JPEG, 1 to 100", "85", { min: 1 }),
  temperature: key("number", "of the answers", "0.1", { min: 0 }),
  seed: key("whole", "passed to the servers", "0", { min: 0 }),
  tokenizer: key("text", "checkpoint whose tokenizer counts tokens: the one to be trained", "tokens are not counted"),
  rules: key("path", "file of rules in place of the product's own (docs/captions.md)", "the product's own"),
  hand: key("choice", "clips with a caption that somebody wrote", "keep", { choices: ["keep", "replace"] }),
  equalCaptions: key("flag", "allow one caption for clips of several sources", "false"),
} satisfies Readonly<Record<string, TrainKey>>;

/** What was given, checked. */
export interface CaptionConfig extends VisionConfig {
  readonly summariserUrl?: string;
  readonly summariserModel?: string;
  readonly summariserKeyEnv?: string;
  readonly summariserInputPrice?: number;
  readonly summariserOutputPrice?: number;
  readonly maxCost?: number;
  readonly maxRequests?: number;
  readonly path?: "steps" | "clip";
  readonly every?: number;
  readonly frames?: number;
  readonly longest?: number;
  readonly quality?: number;
  readonly temperature?: number;
  readonly seed?: number;
  readonly tokenizer?: string;
  readonly rules?: string;
  readonly hand?: "keep" | "replace";
  readonly equalCaptions?: boolean;
}
