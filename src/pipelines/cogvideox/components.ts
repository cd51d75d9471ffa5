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

/** A component whose config stands in `Configs` under the name `config`. */
const part = <K extends keyof Configs>(config: K, component: Required<ComponentKind<Configs[K]>>) => ({ config, ...component });

/** The components with weights. */
const parts = {
  text_encoder: part("text", { parse: (json) => parseT5Config(json), judge: judgeT5Config, weights: expectedT5Weights }),
  transformer: part("transformer", {
    parse: (json) => parseTransformerConfig(json),
    judge: judgeTransformerConfig,
    weights: transformerWeights,
  }),
  vae: part("vae", { parse: (json) => parseVaeConfig(json), judge: judgeVaeConfig, weights: vaeWeights }),
};

export const components = { ...parts, tokenizer: {}, scheduler: { judge: judgeSchedulerConfig } } satisfies Record<string, ComponentKind>;

export type Part = keyof typeof parts;
const PARTS = Object.keys(parts) as Part[];

/** Weights by component. */
export type PartWeights = ReadonlyMap<Part, ReadonlyMap<string, readonly number[]>>;

/** @param of the config of a component as it stands in its file */
export const parseConfigs = (of: (part: Part) => unknown): Configs =>
  Object.fromEntries(PARTS.map((name) => [parts[name].config, parts[name].parse(of(name))])) as unknown as Configs;

/** Shapes of all weights of some components. @param vaeParts what the VAE is to do; default: both */
export const expectedWeights = (
  configs: Configs,
  names: readonly Part[] = PARTS,
  vaeParts?: readonly ("encode" | "decode")[],
): PartWeights =>
  new Map(
    names.map((name) => {
      const { config, weights }: { config: keyof Configs } & Required<ComponentKind> = parts[name];
      return [name, weights(configs[config], vaeParts)];
    }),
  );
