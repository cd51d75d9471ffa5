/** What a checkpoint's configs say together: which model it is, and what it can make. */
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { CogwheelError } from "../../base/errors.ts";
import { temporalLevels } from "../../models/vae/config.ts";
import { createScheduler } from "../../diffusion/scheduler.ts";
import type { ComponentKind } from "../family.ts";
import { readJson } from "../../sources/source.ts";
import { adviceFrom, checkSettings, completed, defaultSettings, type ModelRules, type Settings } from "../settings.ts";
import { vocabularyFrom, type Vocabulary } from "../vocabulary.ts";
import { components, parseConfigs, type Configs } from "./components.ts";

/**
 * Does a checkpoint with extra channels take images or control videos? The class of its
 * pipeline tells; else what only image models have.
 */
function takesOf(pipelineClass: string, channels: number, latents: number, transformer: Configs["transformer"]): ModelRules["takes"] {
  if (channels === latents) return "text";
  if (channels === 2 * latents + 1) return "inpaint";
  if (channels !== 2 * latents) {
    throw new CogwheelError(
      "checkpoint",
      `transformer/config.json: in_channels must be ${latents} (text), ${2 * latents} (an image or a control video) or ` +
        `${2 * latents + 1} (inpainting) with ${latents} latent channels, got ${channels}; this kind of checkpoint is not supported`,
    );
  }
  if (/ImageToVideo/.test(pipelineClass)) return "image";
  if (/Control/.test(pipelineClass)) return "control";
  return transformer.ofs_embed_dim !== null || transformer.use_learned_positional_embeddings ? "image" : "image or control";
}

/** Parses and checks the configs of all components, and that they belong together. */
export function readConfigs(checkpoint: Checkpoint, onWarning?: (message: string) => void): { configs: Configs; rules: ModelRules } {
  const config = (name: string) => checkpoint.component(name).config as Record<string, unknown>;
  const configs = parseConfigs(config, (part) => checkpoint.component(part).configFile ?? undefined);
  expectTogether(configs);
  const { kind: scheduler } = createScheduler(config("scheduler"), checkpoint.component("scheduler").className);
  for (const [name, { judge }] of Object.entries<ComponentKind>(components)) {
    const unknown = judge?.(config(name)).unknown ?? [];
    if (unknown.length)
      onWarning?.(
        `[checkpoint] ${checkpoint.component(name).configFile ?? name}: nothing here knows ` +
          `${unknown.map((key) => JSON.stringify(key)).join(", ")}, which may belong to a newer model: what it asks for is not done`,
      );
  }
  return { configs, rules: rulesOf(configs, checkpoint.className, scheduler) };
}

/**
 * What a generation does where it is not told otherwise: the checkpoint's advice, else the published one; and of a small model the words
 * that it knows.
 */
export async function readAdvice(
  { source }: Pick<Checkpoint, "source">,
  rules: ModelRules,
): Promise<{ defaults: Settings; vocabulary: Vocabulary | undefined }> {
  const advice = (await source.exists("generation.json")) ? await readJson(source, "generation.json") : {};
  const defaults = completed(defaultSettings(rules), adviceFrom(advice));
  checkSettings(defaults, rules);
  return { defaults, vocabulary: vocabularyFrom(advice) };
}

function expectTogether({ text, transformer, vae }: Configs): void {
  if (text.d_model !== transformer.text_embed_dim)
    throw new CogwheelError(
      "checkpoint",
      "the text encoder's d_model must be the transformer's text_embed_dim, " +
        `got ${text.d_model} and ${transformer.text_embed_dim}; the folders belong to different models`,
    );
  if (transformer.out_channels !== vae.latent_channels)
    throw new CogwheelError(
      "checkpoint",
      "the transformer's out_channels must be the VAE's latent_channels, " +
        `got ${transformer.out_channels} and ${vae.latent_channels}; the folders belong to different models`,
    );
  if (2 ** temporalLevels(vae) !== vae.temporal_compression_ratio)
    throw new CogwheelError(
      "checkpoint",
      `vae/config.json: temporal_compression_ratio must be what its ${vae.block_out_channels.length} blocks do to frames, ` +
        `at most ${2 ** temporalLevels(vae)}, got ${vae.temporal_compression_ratio}; correct it`,
    );
}

/** What sizes, lengths and inputs a model takes. @param className the class of the pipeline, as model_index.json names it */
export function rulesOf(
  { transformer, vae }: Pick<Configs, "transformer" | "vae">,
  className: string,
  scheduler: ModelRules["scheduler"],
): ModelRules {
  return {
    spatial: 2 ** (vae.block_out_channels.length - 1),
    temporal: vae.temporal_compression_ratio,
    patchSize: transformer.patch_size,
    sampleHeight: transformer.sample_height,
    sampleWidth: transformer.sample_width,
    sampleFrames: transformer.sample_frames,
    anySize: transformer.patch_size_t !== null,
    scheduler,
    patchSizeT: transformer.patch_size_t ?? 1,
    takes: takesOf(className, transformer.in_channels, vae.latent_channels, transformer),
  };
}
