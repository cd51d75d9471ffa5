/**
 * Which parts of a VAE are computed once more for their gradients, from what they read. Where pictures are largest a part is one resnet
 * block, for what one has inside is most of what there is; elsewhere it is all resnets of a level, which have no more inside together. The
 * convolution that enlarges pictures goes with the level that reads it: what it reads is a quarter of what it makes.
 */
import type { DifferentiateOptions } from "../../gradient/differentiate.ts";
import type { Node } from "../../graph/op.ts";
import type { VaeConfig } from "../../models/vae/config.ts";

/** The part of a node, by its scope, wherever that lies in others; undefined where what it makes is kept. */
export function partOf({
  block_out_channels: levels,
}: Pick<VaeConfig, "block_out_channels">): (node: Pick<Node, "scope">) => string | undefined {
  const last = levels.length - 1;
  return ({ scope }) => {
    const found = /^(.*\b(en|de)coder)\.(?:(mid_block)|(?:up|down)_blocks\.(\d+))\.(resnets\.\d+|upsamplers)/.exec(scope);
    if (!found) return undefined;
    const [, half, which, middle, level, resnet] = found;
    if (middle) return `${half}.${middle}`;
    const upsamples = resnet === "upsamplers";
    const index = Number(level) + (upsamples ? 1 : 0);
    const largest = which === "de" ? last : 0;
    return `${half}.${index}${index === largest ? `.${upsamples ? "resnets.0" : resnet}` : ""}`;
  };
}

/** How gradients are taken: with parts computed once more, or with everything kept. */
export const checkpointing = (config: Pick<VaeConfig, "block_out_channels">, again: boolean): DifferentiateOptions =>
  again ? { again: partOf(config) } : {};
