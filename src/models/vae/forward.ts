/**
 * The causal VAE's parts, recorded under their published weight names.
 *
 *   B batch, F frames, H, W, C channels (padded to a multiple of 4), Z latent channels
 *
 * The residual stream and every sum are f32 whatever the storage type. With f16, what a norm gives is stored in f16: it is
 * bounded, and it is what a convolution reads 27 times over.
 */
import type { DType } from "../../graph/dtype.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { causalCache } from "../../ops/causal_cache.ts";
import { conv3d, type Conv3dOptions } from "../../ops/conv3d.ts";
import { groupNorm } from "../../ops/group_norm.ts";
import { temporalPool } from "../../ops/temporal_pool.ts";
import { temporalLevels, type VaeConfig } from "./config.ts";

/** What is left of the frame batch before, and what the next one will need: state-dict prefix of a convolution → frames. */
export interface CausalCaches {
  /** Frames kept by the batch before, of what is convolved; none before the first. */
  readonly before?: (prefix: string, shape: readonly number[], dtype: DType, x: Tensor) => Tensor;
  /** Called with the frames to keep, and how many channels they have without padding, unless no batch follows. */
  readonly keep?: (prefix: string, frames: Tensor, channels: number) => void;
}

export interface VaeRecorder {
  readonly graph: Graph;
  readonly config: VaeConfig;
  /** Storage type of what norms give. */
  readonly dtype: DType;
  readonly caches: CausalCaches;
  /** Does the first of an odd number of frames stay single where frames are doubled? Default true; not in a later part of a batch. */
  readonly keepFirst?: boolean;
}

type Named = VaeRecorder & { readonly prefix: string };
const at = (r: VaeRecorder, prefix: string): Named => ({ ...r, prefix });

/** CogVideoXCausalConv3d, 3×3×3: weights under `prefix.conv`, before its first frame the frames kept under `prefix`. */
export function causalConv(
  { graph, caches, prefix }: Named,
  x: Tensor,
  inChannels: number,
  outChannels: number,
  options: Conv3dOptions = {},
): Tensor {
  return graph.scope(prefix, () => {
    const shape = [x.dim(0), 2, ...x.shape.slice(2)];
    const cache = caches.before?.(prefix, shape, x.dtype, x);
    caches.keep?.(prefix, causalCache(x, 2, cache), inChannels);
    return conv3d(x, graph.weight(`${prefix}.conv.weight`, [outChannels, inChannels, 3, 3, 3]), {
      bias: graph.weight(`${prefix}.conv.bias`, [outChannels]),
      ...(cache ? { cache } : {}),
      ...options,
    });
  });
}

/** GroupNorm, or with the latent `zq` CogVideoXSpatialNorm3D, then SiLU. */
export function norm(
  { graph, config, dtype, prefix }: Named,
  x: Tensor,
  channels: number,
  zq: Tensor | undefined,
  options: { eps?: number; activation?: "silu" } = { activation: "silu" },
): Tensor {
  const base = zq ? `${prefix}.norm_layer` : prefix;
  const [weight, bias] = [graph.weight(`${base}.weight`, [channels]), graph.weight(`${base}.bias`, [channels])];
  const shared = { groups: config.norm_num_groups, dtype, ...(options.activation ? { activation: options.activation } : {}) };
  return graph.scope(prefix, () => {
    if (!zq) return groupNorm(x, weight, bias, { ...shared, eps: options.eps ?? config.norm_eps });
    // Both 1×1×1 convolutions on the small latent; resizing by nearest neighbour commutes with them.
    const [scale, shift] = ["conv_y", "conv_b"].map((name) =>
      conv3d(zq, graph.weight(`${prefix}.${name}.conv.weight`, [channels, config.latent_channels, 1, 1, 1]), {
        bias: graph.weight(`${prefix}.${name}.conv.bias`, [channels]),
      }),
    ) as [Tensor, Tensor];
    return groupNorm(x, weight, bias, { ...shared, eps: 1e-6, spatial: { scale, shift } });
  });
}

/** CogVideoXResnetBlock3D: x + conv2(silu(norm2(conv1(silu(norm1(x)))))). */
export function resnet(r: Named, x: Tensor, inChannels: number, outChannels: number, zq?: Tensor): Tensor {
  const { graph, prefix } = r;
  const part = (name: string) => at(r, `${prefix}.${name}`);
  const hidden = causalConv(part("conv1"), norm(part("norm1"), x, inChannels, zq), inChannels, outChannels);
  const shortcut =
    inChannels === outChannels
      ? x
      : graph.scope(`${prefix}.conv_shortcut`, () =>
          conv3d(x, graph.weight(`${prefix}.conv_shortcut.weight`, [outChannels, inChannels, 1, 1, 1]), {
            bias: graph.weight(`${prefix}.conv_shortcut.bias`, [outChannels]),
          }),
        );
  return causalConv(part("conv2"), norm(part("norm2"), hidden, outChannels, zq), outChannels, outChannels, { residual: shortcut });
}

function conv2d({ graph, prefix }: Named, x: Tensor, channels: number, options: Conv3dOptions): Tensor {
  return graph.scope(prefix, () =>
    conv3d(x, graph.weight(`${prefix}.weight`, [channels, channels, 3, 3]), {
      bias: graph.weight(`${prefix}.bias`, [channels]),
      ...options,
    }),
  );
}

/** x_BFHWC, pixels → moments [B, F', H', W', 2Z]: mean, then log-variance. */
export function recordEncoder(r: VaeRecorder, x: Tensor): Tensor {
  const { config } = r;
  const widths = config.block_out_channels;
  let h = causalConv(at(r, "encoder.conv_in"), x, config.in_channels, widths[0]!);
  widths.forEach((width, i) => {
    const block = `encoder.down_blocks.${i}`;
    for (let j = 0; j < config.layers_per_block; j++)
      h = resnet(at(r, `${block}.resnets.${j}`), h, j ? width : (widths[i - 1] ?? widths[0]!), width);
    if (i === widths.length - 1) return;
    if (i < temporalLevels(config)) h = r.graph.scope(`${block}.downsamplers.0`, () => temporalPool(h));
    h = conv2d(at(r, `${block}.downsamplers.0.conv`), h, width, { stride: [1, 2, 2], pad: [0, 1, 0, 1] });
  });
  const last = widths.at(-1)!;
  for (let j = 0; j < 2; j++) h = resnet(at(r, `encoder.mid_block.resnets.${j}`), h, last, last);
  return causalConv(
    at(r, "encoder.conv_out"),
    norm(at(r, "encoder.norm_out"), h, last, undefined, { eps: 1e-6, activation: "silu" }),
    last,
    2 * config.latent_channels,
  );
}

/** z_BFHWZ → pixels [B, F', H', W', 3]. */
export function recordDecoder(r: VaeRecorder, z: Tensor): Tensor {
  const { config } = r;
  const widths = [...config.block_out_channels].reverse();
  let h = causalConv(at(r, "decoder.conv_in"), z, config.latent_channels, widths[0]!);
  for (let j = 0; j < 2; j++) h = resnet(at(r, `decoder.mid_block.resnets.${j}`), h, widths[0]!, widths[0]!, z);
  widths.forEach((width, i) => {
    const block = `decoder.up_blocks.${i}`;
    for (let j = 0; j <= config.layers_per_block; j++)
      h = resnet(at(r, `${block}.resnets.${j}`), h, j ? width : (widths[i - 1] ?? widths[0]!), width, z);
    if (i < widths.length - 1)
      h = conv2d(at(r, `${block}.upsamplers.0.conv`), h, width, {
        upsample: i < temporalLevels(config) ? "space-time" : "space",
        keepFirst: r.keepFirst ?? true,
      });
  });
  const last = widths.at(-1)!;
  return causalConv(at(r, "decoder.conv_out"), norm(at(r, "decoder.norm_out"), h, last, z), last, config.out_channels);
}
