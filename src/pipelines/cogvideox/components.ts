/** The folders of a CogVideoX checkpoint: what reads each one's config, and the weights that it must have. */
import { judgeSchedulerConfig } from "../../diffusion/config.ts";
import { judgeTransformerConfig, parseTransformerConfig, type TransformerConfig } from "../../models/cogvideox/config.ts";
import { transformerWeights } from "../../models/cogvideox/weights.ts";
import { judgeT5Config, parseT5Config, type T5Config } from "../../models/t5/config.ts";
import { expectedT5Weights } from "../../models/t5/weights.ts";
import { vaeWeights } from "../../models/vae/batches.ts";
import { judgeVaeConfig, parseVaeConfig, type VaeConfig } from "../../models/vae/config.ts";
import type { ComponentKind } from "../family.ts";

/** The parsed configs of a checkpoint. */
export interface Configs {
  readonly text: T5Config;
  readonly transformer: TransformerConfig;
  readonly vae: VaeConfig;
}

export const components = {
  text_encoder: {
    parse: (json) => parseT5Config(json),
    judge: judgeT5Config,
    weights: expectedT5Weights,
  } satisfies ComponentKind<T5Config>,
  tokenizer: {},
  transformer: {
    parse: (json) => parseTransformerConfig(json),
    judge: judgeTransformerConfig,
    weights: transformerWeights,
  } satisfies ComponentKind<TransformerConfig>,
  vae: { parse: (json) => parseVaeConfig(json), judge: judgeVaeConfig, weights: vaeWeights } satisfies ComponentKind<VaeConfig>,
  scheduler: { judge: judgeSchedulerConfig },
} satisfies Record<string, ComponentKind>;

/** The components with weights. */
export type Part = "text_encoder" | "transformer" | "vae";
const PARTS: readonly Part[] = ["text_encoder", "transformer", "vae"];

/** Weights by component. */
export type PartWeights = ReadonlyMap<Part, ReadonlyMap<string, readonly number[]>>;

/** Shapes of all weights of some components. @param vaeParts what the VAE is to do; default: both */
export function expectedWeights(
  configs: Configs,
  parts: readonly Part[] = PARTS,
  vaeParts?: readonly ("encode" | "decode")[],
): PartWeights {
  const of: Record<Part, () => ReadonlyMap<string, readonly number[]>> = {
    text_encoder: () => components.text_encoder.weights(configs.text),
    transformer: () => components.transformer.weights(configs.transformer),
    vae: () => components.vae.weights(configs.vae, vaeParts),
  };
  return new Map(parts.map((part) => [part, of[part]()]));
}
