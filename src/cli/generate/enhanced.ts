/** `generate --enhance`: the prompt is rewritten before anything else; both are shown, and kept beside the video. */
import { visible } from "../../base/visible.ts";
import { enhance, type EnhancedPrompt } from "../../curation/enhance/enhance.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import { defined, type GenerateOptions } from "../../pipelines/options.ts";
import { writeWhole } from "../files.ts";
import type { Asked } from "./asked.ts";

/** Where keys stand: nowhere else are they read from, and nowhere are they written. */
const KEY = "COGWHEEL_API_KEY";

/** Rewrites the prompt of these options where that is asked for. */
export async function enhanced(
  { own }: Asked,
  options: GenerateOptions,
  model: CogVideoX,
  { signal, onWarning }: { signal: AbortSignal; onWarning: (message: string) => void },
): Promise<EnhancedPrompt | undefined> {
  if (own.enhance === undefined) return undefined;
  return await enhance(options.prompt, {
    url: own.enhance,
    ...defined({ model: own.enhanceModel, key: process.env[KEY] || undefined, image: options.image }),
    checkpoint: model.checkpoint.source,
    maxTokens: model.configs.transformer.max_text_seq_length,
    tries: 3,
    signal,
    onWarning,
  });
}

export function sayEnhanced({ prompt, from, enhanced: rewritten, cached, model }: EnhancedPrompt, say: (text: string) => void): void {
  if (!rewritten) return;
  say(`Prompt: ${visible(from)}`);
  say(`Rewritten by ${visible(model ?? "")}${cached ? ", kept from before" : ""}: ${visible(prompt)}\n`);
}

/** Writes both beside the first video, so that it can be made again. @returns the file's path */
export async function saveEnhanced(prompt: EnhancedPrompt, video: string, seed: number): Promise<string> {
  const path = `${video.replace(/[\\/]$/, "").replace(/\.\w+$/, "")}.prompt.json`;
  const { seed: enhanceSeed, ...rest } = prompt;
  await writeWhole(path, new TextEncoder().encode(`${JSON.stringify({ ...rest, enhanceSeed, seed }, null, 2)}\n`), "--out");
  return path;
}
