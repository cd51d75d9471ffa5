/** The folders of a CogVideoX checkpoint: what reads each one's config, and the weights that it must have. */
import type { GgufFiles } from "../../checkpoint/component-file.ts";
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

/** A component that has weights. */
type WithWeights<C = unknown> = ComponentKind<C> & Required<Pick<ComponentKind<C>, "parse" | "judge" | "weights">>;

/** A component whose config stands in `Configs` under the name `config`. */
const part = <K extends keyof Configs>(config: K, component: WithWeights<Configs[K]>) => ({ config, ...component });

/** The components with weights. */
const parts = {
  text_encoder: part("text", {
    parse: (json, where) => parseT5Config(json, where),
    judge: judgeT5Config,
    weights: expectedT5Weights,
  }),
  transformer: part("transformer", {
    parse: (json, where) => parseTransformerConfig(json, where),
    judge: judgeTransformerConfig,
    weights: transformerWeights,
  }),
  vae: part("vae", { parse: (json, where) => parseVaeConfig(json, where), judge: judgeVaeConfig, weights: vaeWeights }),
};

export const components = { ...parts, tokenizer: {}, scheduler: { judge: judgeSchedulerConfig } } satisfies Record<string, ComponentKind>;

export type Part = keyof typeof parts;
const PARTS = Object.keys(parts) as Part[];

/** The GGUF files that they may come in. */
export const ggufFiles: GgufFiles = {
  text_encoder: async () => (await import("../../models/t5/gguf.ts")).T5_GGUF,
  transformer: async () => (await import("../../models/cogvideox/gguf.ts")).TRANSFORMER_GGUF,
};

/** Weights by component. */
export type PartWeights = ReadonlyMap<Part, ReadonlyMap<string, readonly number[]>>;

/** @param of the config of a component as it stands in its file @param where that file, for messages; default: the published one */
export const parseConfigs = (of: (part: Part) => unknown, where?: (part: Part) => string | undefined): Configs =>
  Object.fromEntries(PARTS.map((name) => [parts[name].config, parts[name].parse(of(name), where?.(name))])) as unknown as Configs;

/** Shapes of all weights of some components. @param vaeParts what the VAE is to do; default: both */
export const expectedWeights = (
  configs: Configs,
  names: readonly Part[] = PARTS,
  vaeParts?: readonly ("encode" | "decode")[],
): PartWeights =>
  new Map(
    names.map((name) => {
      const { config, weights }: { config: keyof Configs } & WithWeights = parts[name];
      return [name, weights(configs[config], vaeParts)];
    }),
  );
