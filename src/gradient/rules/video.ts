/** Gradients of ops over videos [B, T, H, W, C]: group norms, resampling, frames that causal convolutions keep, drawn latents. */
import { CogwheelError } from "../../base/errors.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Node, RuleOf } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { causalCacheOp } from "../../ops/causal_cache.ts";
import { causalCacheGradient } from "../../ops/causal_cache_gradient.ts";
import { channelsFirst, type channelsFirstOp, channelsLast, type channelsLastOp } from "../../ops/channels.ts";
import type { groupNormApplyOp } from "../../ops/group_norm_apply.ts";
import { groupNormGradient, type groupNormGradientOp } from "../../ops/group_norm_gradient.ts";
import { groupNormGradientMerge, groupNormGradientMergeOp } from "../../ops/group_norm_gradient_merge.ts";
import { groupNormGradientSums } from "../../ops/group_norm_gradient_sums.ts";
import { groupNormSecond } from "../../ops/group_norm_second.ts";
import { groupNormMergeOp } from "../../ops/group_norm_merge.ts";
import { groupNormStatsOp } from "../../ops/group_norm_stats.ts";
import type { nearestUpsampleOp } from "../../ops/nearest_upsample.ts";
import { nearestUpsampleGradient } from "../../ops/nearest_upsample_gradient.ts";
import type { posteriorSampleOp } from "../../ops/posterior_sample.ts";
import { posteriorSampleGradient } from "../../ops/posterior_sample_gradient.ts";
import type { temporalPoolOp } from "../../ops/temporal_pool.ts";
import { temporalPoolGradient } from "../../ops/temporal_pool_gradient.ts";

/** The node that made a tensor. */
const makerOf = (graph: unknown, tensor: Tensor): Node | undefined =>
  (graph as Graph).nodes.find(({ outputs }) => Object.values(outputs).includes(tensor.root));

/** Mean and deviation are x's own, so what goes through them is in dx already, and their own rules have nothing left. */
export const groupNormApplyRule: RuleOf<typeof groupNormApplyOp> = {
  gradient({ inputs: { x, norm, ...rest }, attrs }, { y: dy }, want) {
    const merge = makerOf(x.graph, norm);
    const stats = merge?.op === groupNormMergeOp ? makerOf(x.graph, merge.inputs["stats"]!) : undefined;
    if (stats?.op !== groupNormStatsOp || stats.inputs["x"]!.root !== x.root)
      throw new CogwheelError(
        "group_norm_apply",
        `a gradient goes through a norm by the statistics of x itself, got ${norm} for ${x}; ` +
          "make it with groupNormMerge(groupNormStats(x))",
      );
    const { sums, dscale, dshift } = groupNormGradientSums({ x, dy: dy!, norm, ...rest }, attrs);
    const merged = groupNormGradientMerge({ sums, norm, weight: rest.weight }, { groups: (merge!.attrs as { groups: number }).groups });
    return {
      ...(want.has("x") ? { x: groupNormGradient({ x, dy: dy!, ...rest, norm: merged.norm }, attrs) } : {}),
      weight: merged.dweight,
      bias: merged.dbias,
      scale: dscale,
      shift: dshift,
    };
  },
};

/**
 * The gradient of a norm's gradient, where a channel is a group and weights are 1, as a discriminator's are: linear in dy by a symmetric
 * matrix, which x decides. The record of dy's means is that of dy, so that what goes through it is in both already.
 */
export const groupNormGradientRule: RuleOf<typeof groupNormGradientOp> = {
  gradient({ inputs: { x, dy, norm, weight, bias, scale, shift }, attrs }, { dx: dz }, want) {
    const { graph } = x;
    const merge = makerOf(graph, norm);
    const groups = merge?.op === groupNormGradientMergeOp ? (merge.attrs as { groups: number }).groups : 0;
    if (groups !== weight.size || scale || attrs.activation !== null || !weight.data?.every((v) => v === 1))
      throw new CogwheelError(
        "group_norm_gradient",
        `a gradient's gradient goes through norms with a channel a group, weights of 1 and nothing after them, got ${groups} groups ` +
          `of ${weight.size} channels${scale ? ", spatial" : ""}${attrs.activation ? `, ${attrs.activation}` : ""}; differentiate once`,
      );
    const statistics = merge!.inputs["norm"]!;
    const rest = { weight, bias, scale, shift };
    const merged = (of: Tensor, along: Tensor, by: Tensor) =>
      groupNormGradientMerge(
        { sums: groupNormGradientSums({ x: of, dy: along, norm: by, ...rest }, attrs).sums, norm: by, weight },
        { groups },
      ).norm;
    const ofDz = merged(x, dz!, statistics);
    const raw = () => {
      const [b, , c] = statistics.shape as [number, number, number];
      const meanAndRstd = Float32Array.from({ length: 2 * b * c }, (_, i) => Math.floor(i / c) % 2);
      return (graph as Graph).constant("mean 0, rstd 1", meanAndRstd, statistics.shape);
    };
    return {
      ...(want.has("dy") ? { dy: groupNormGradient({ x, dy: dz!, norm: ofDz, ...rest }, attrs) } : {}),
      ...(want.has("x") ? { x: groupNormSecond({ x, dy, dz: dz!, ofDy: norm, ofDz, products: merged(dy, dz!, raw()) }) } : {}),
    };
  },
};

const withTheNorm = (op: string) => (): never => {
  throw new CogwheelError(
    op,
    "statistics have a gradient only through the norm that they are of, got one of their own; leave them out of the loss",
  );
};
export const groupNormStatsRule: RuleOf<typeof groupNormStatsOp> = { gradient: withTheNorm("group_norm_stats") };
export const groupNormMergeRule: RuleOf<typeof groupNormMergeOp> = { gradient: withTheNorm("group_norm_merge") };

export const nearestUpsampleRule: RuleOf<typeof nearestUpsampleOp> = {
  gradient: ({ inputs: { x }, attrs }, { y }) => ({ x: nearestUpsampleGradient(y!, { frames: x.dim(1), ...attrs }) }),
};

export const temporalPoolRule: RuleOf<typeof temporalPoolOp> = {
  gradient: ({ inputs: { x }, attrs }, { y }) => ({ x: temporalPoolGradient(y!, { frames: x.dim(1), ...attrs }) }),
};

export const causalCacheRule: RuleOf<typeof causalCacheOp> = {
  gradient({ inputs: { x, cache } }, { y }) {
    const { dx, dcache } = causalCacheGradient(y!, { frames: x.dim(1), cached: cache !== undefined });
    return { x: dx, cache: dcache };
  },
};

export const channelsLastRule: RuleOf<typeof channelsLastOp> = {
  gradient: ({ inputs: { x } }, { y }) => ({ x: channelsFirst(y!, x.dim(1)) }),
};

export const channelsFirstRule: RuleOf<typeof channelsFirstOp> = { gradient: (_, { y }) => ({ x: channelsLast(y!) }) };

/** Noise is given, and has no gradient. */
export const posteriorSampleRule: RuleOf<typeof posteriorSampleOp> = {
  gradient: ({ inputs: { moments, noise }, attrs }, { z: dz }) => ({
    moments: posteriorSampleGradient({ moments, noise, dz: dz! }, attrs),
  }),
};
