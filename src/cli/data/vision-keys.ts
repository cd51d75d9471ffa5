/** What every section of a data config can be told that asks a model which sees: which one, how, and what it costs. */
import { key, type TrainKey } from "../train/keys.ts";

export const VISION_KEYS = {
  model: key("text", "the model's name there", "the only one that it serves"),
  keyEnv: key("text", "variable of the environment that holds the key", "COGWHEEL_API_KEY"),
  body: key("object", "what goes into every request as it is: { chat_template_kwargs: { enable_thinking: false } }", "nothing"),
  concurrency: key("whole", "requests under way at a time", "4", { min: 1 }),
  timeout: key("number", "seconds in which an answer may not come", "120", { min: 0.01 }),
  tries: key("whole", "how often a request is sent that fails in passing", "5", { min: 1 }),
  inputPrice: key("number", "price of a million tokens of requests", "0", { min: 0 }),
  outputPrice: key("number", "price of a million tokens of answers", "0", { min: 0 }),
} satisfies Readonly<Record<string, TrainKey>>;

/** What was given, checked; the address too, which each section tells in its own words. */
export interface VisionConfig {
  readonly url?: string;
  readonly model?: string;
  readonly keyEnv?: string;
  readonly body?: Readonly<Record<string, unknown>>;
  readonly concurrency?: number;
  readonly timeout?: number;
  readonly tries?: number;
  readonly inputPrice?: number;
  readonly outputPrice?: number;
}
