/** Small VAEs, and weights for them so small that nothing grows from layer to layer. */
import { elements } from "../../src/base/shape.ts";
import { vaeWeights } from "../../src/models/vae/batches.ts";
import { parseVaeConfig, type VaeConfig } from "../../src/models/vae/config.ts";
import { values } from "./compare.ts";

/** Two levels, time doubled once, an odd number of latent channels, a shortcut, groups of several channels; what is named is otherwise. */
export const smallVae = (other: Record<string, unknown> = {}): VaeConfig =>
  parseVaeConfig({
    block_out_channels: [4, 8],
    latent_channels: 5,
    layers_per_block: 1,
    norm_num_groups: 2,
    temporal_compression_ratio: 2,
    ...other,
  });

/** By state-dict name. @param parts default: both */
export function smallVaeWeights(
  config: VaeConfig,
  { parts, seed = 10 }: { parts?: readonly ("encode" | "decode")[]; seed?: number } = {},
): Record<string, { data: Float32Array; shape: readonly number[] }> {
  return Object.fromEntries(
    [...vaeWeights(config, parts)].map(([name, shape], i) => {
      const size = elements(shape);
      return [name, { data: values(size, seed + i, shape.length > 1 ? 1 / Math.sqrt(size / shape[0]!) : 0.5), shape }];
    }),
  );
}
