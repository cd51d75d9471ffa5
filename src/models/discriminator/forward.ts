/**
 * A 3-D patch discriminator, recorded under the names of torch's Sequential: convolutions that see ever more of a clip, a norm and a leaky
 * rectifier after each, and a score for every patch in the end. Isola et al. 2017, arXiv:1611.07004, in three dimensions.
 *
 *   B batch, T frames, H, W, C channels (padded to a multiple of 4)
 */
import { CogwheelError } from "../../base/errors.ts";
import type { DType } from "../../graph/dtype.ts";
import type { Graph } from "../../graph/graph.ts";
import { padTo } from "../../graph/packing.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { channelAffine } from "../../ops/channel_affine.ts";
import { conv3d, type Conv3dOptions } from "../../ops/conv3d.ts";
import { groupNormApply } from "../../ops/group_norm_apply.ts";
import { groupNormMerge } from "../../ops/group_norm_merge.ts";
import { groupNormStats } from "../../ops/group_norm_stats.ts";
import { leakyRelu } from "../../ops/leaky_relu.ts";
import { runningAffine } from "../../ops/running_affine.ts";
import { discriminatorLevels, type DiscriminatorConfig, type DiscriminatorLevel } from "./config.ts";

/** Of norms, and of the rectifier. */
const EPS = 1e-5;
export const SLOPE = 0.2;

/** A level as it was recorded. */
export interface RecordedLevel {
  readonly level: DiscriminatorLevel;
  /** What its norm read and by which record [B or 1, 2, C padded] of its own statistics, x as the norm sees it; of levels that have one. */
  readonly normed?: { readonly x: Tensor; readonly norm: Tensor };
  /** What the level gives. */
  readonly y: Tensor;
}

export interface DiscriminatorOptions {
  /** Storage type of what convolutions read. Scores are f32. Default f32. */
  readonly dtype?: DType;
  /** What the graph calls a weight begins with this. Default nothing. */
  readonly prefix?: string;
  /**
   * Batch norms by a batch's own statistics, as in training; by running ones, the weights `running_mean` and `running_var`, otherwise.
   * Default true.
   */
  readonly train?: boolean;
  /** Is given each batch norm's statistics [1, S, 3, C padded], by the norm's name, for the running ones. */
  readonly onStatistics?: (norm: string, stats: Tensor, channels: number) => void;
  /** Is given each level in its order. */
  readonly onLevel?: (recorded: RecordedLevel) => void;
}

/** How a level's convolution goes over what it reads. */
export const convOptions = ({ causal, kernel_size: k }: DiscriminatorConfig, { stride }: DiscriminatorLevel): Conv3dOptions => ({
  padFrames: causal ? [k - 1, 0] : [1, 1],
  padFramesMode: causal ? "repeat" : "zeros",
  pad: [1, 1, 1, 1],
  stride,
});

/** x [B, T, H, W, C padded] → scores f32 [B, T', H', W', 4], the first of four. */
export function recordDiscriminator(config: DiscriminatorConfig, x: Tensor, options: DiscriminatorOptions = {}): Tensor {
  const graph = x.graph as Graph;
  const { dtype = "f32", prefix = "" } = options;
  if (x.shape.length !== 5 || x.dim(-1) !== padTo(config.input_nc, 4))
    throw new CogwheelError("discriminator", `x must be [B, T, H, W, ${padTo(config.input_nc, 4)}], got ${x}; bring it into this layout`);
  const k = config.kernel_size;
  let h = x;
  for (const level of discriminatorLevels(config)) {
    const { conv, inChannels, outChannels, bias, active } = level;
    const name = prefix + conv;
    h = graph.scope(name, () =>
      conv3d(h, graph.weight(`${name}.weight`, [outChannels, inChannels, k, k, k]), {
        ...(bias ? { bias: graph.weight(`${name}.bias`, [outChannels], "f32") } : {}),
        ...convOptions(config, level),
        // What a norm reads is f32, for its mean may be large beside its deviation.
        dtype: level.norm || !active ? "f32" : dtype,
      }),
    );
    let normed: RecordedLevel["normed"];
    if (level.norm)
      h = graph.scope(prefix + level.norm, () => norm(graph, config, level, h, { ...options, onNorm: (of) => (normed = of) }));
    if (active) h = leakyRelu(h, SLOPE);
    options.onLevel?.({ level, y: h, ...(normed ? { normed } : {}) });
  }
  return h;
}

function norm(
  graph: Graph,
  config: DiscriminatorConfig,
  { norm: place, outChannels: channels }: DiscriminatorLevel,
  x: Tensor,
  {
    dtype = "f32",
    prefix = "",
    train = true,
    onStatistics,
    onNorm,
  }: DiscriminatorOptions & { readonly onNorm: (of: NonNullable<RecordedLevel["normed"]>) => void },
): Tensor {
  const name = `${prefix}${place}`;
  if (config.norm === "instance") {
    const [ones, zeros] = [1, 0].map((v) => graph.constant(`${name}.${v ? "ones" : "zeros"}`, new Float32Array(channels).fill(v)));
    const own = groupNormMerge(groupNormStats(x), { channels, groups: channels, eps: EPS });
    onNorm({ x, norm: own });
    return groupNormApply(x, own, ones!, zeros!, { dtype });
  }
  const weight = (of: string) => graph.weight(`${name}.${of}`, [channels], "f32");
  if (!train) {
    const { scale, shift } = runningAffine(weight("running_mean"), weight("running_var"), weight("weight"), weight("bias"), EPS);
    return channelAffine(x, scale, shift, dtype);
  }
  // All positions of a batch are one entry, and a channel is a group.
  const [b, t, h, w, c] = x.shape as [number, number, number, number, number];
  const together = graph.reshape(x, [1, b * t, h, w, c]);
  const stats = groupNormStats(together);
  onStatistics?.(name, stats, channels);
  const merged = groupNormMerge(stats, { channels, groups: channels, eps: EPS });
  onNorm({ x: together, norm: merged });
  return graph.reshape(groupNormApply(together, merged, weight("weight"), weight("bias"), { dtype }), x.shape);
}
