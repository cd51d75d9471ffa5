/** The optimizers of a VAE's training: the VAE's and its discriminator's, and what Muon leaves to AdamW there. */
import { type DiscriminatorConfig, discriminatorConfig, discriminatorLevels } from "../../models/discriminator/config.ts";
import { type Optimizer, type OptimizerOptions, optimizerOf } from "../optimizer.ts";
import { DISCRIMINATOR_PREFIX } from "./losses.ts";

/** Convolutions of both halves that are not hidden between others: they read or give pixels or latents. */
export const VAE_ENDS: readonly string[] = ["coder.conv_in.", "coder.conv_out."];

/** A discriminator's first and last convolution. */
export function discriminatorEnds(config: DiscriminatorConfig): string[] {
  const levels = discriminatorLevels(config);
  return [levels[0]!, levels.at(-1)!].map(({ conv }) => `${DISCRIMINATOR_PREFIX}${conv}.`);
}

/** What options say of them. */
export interface VaeOptimizerOptions {
  readonly optimizer?: OptimizerOptions;
  readonly discriminator?: { readonly config?: Partial<DiscriminatorConfig>; readonly optimizer?: OptimizerOptions };
}

/** The VAE's, and the discriminator's, which is the same unless it has one of its own; `adamOnly` is the ends of both by default. */
export function vaeOptimizers({ optimizer, discriminator }: VaeOptimizerOptions): {
  readonly vae: Optimizer;
  readonly discriminator: Optimizer;
} {
  const adamOnly = [...VAE_ENDS, ...(discriminator ? discriminatorEnds(discriminatorConfig(discriminator.config)) : [])];
  const of = (options: OptimizerOptions | undefined): Optimizer => optimizerOf({ adamOnly, ...options });
  return { vae: of(optimizer), discriminator: of(discriminator?.optimizer ?? optimizer) };
}
