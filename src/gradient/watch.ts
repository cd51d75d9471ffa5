/**
 * Where gradients begin: a tensor is watched, and with it the graph learns how gradients go through the ops of the engine. Those rules
 * are a table apart from the ops (`rules/`), because a page that only generates never loads them, nor their kernels.
 */
import type { Graph } from "../graph/graph.ts";
import type { GradientRule, Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { addOp } from "../ops/add.ts";
import { adversarialLossOp } from "../ops/adversarial_loss.ts";
import { attentionOp } from "../ops/attention.ts";
import { blurPoolOp } from "../ops/blur_pool.ts";
import { castOp } from "../ops/cast.ts";
import { channelAffineOp } from "../ops/channel_affine.ts";
import { causalCacheOp } from "../ops/causal_cache.ts";
import { channelsFirstOp, channelsLastOp } from "../ops/channels.ts";
import { conv3dOp } from "../ops/conv3d.ts";
import { embeddingOp } from "../ops/embedding.ts";
import { gatedAddOp } from "../ops/gated_add.ts";
import { gatherRowsOp } from "../ops/gather_rows.ts";
import { geluOp } from "../ops/gelu.ts";
import { groupNormApplyOp } from "../ops/group_norm_apply.ts";
import { groupNormGradientOp } from "../ops/group_norm_gradient.ts";
import { groupNormMergeOp } from "../ops/group_norm_merge.ts";
import { groupNormStatsOp } from "../ops/group_norm_stats.ts";
import { mergeHeadsOp, splitHeadsOp } from "../ops/heads.ts";
import { joinFramesOp } from "../ops/join_frames.ts";
import { joinTokensOp } from "../ops/join_tokens.ts";
import { layerNormOp } from "../ops/layer_norm.ts";
import { leakyReluOp } from "../ops/leaky_relu.ts";
import { leakyReluGradientOp } from "../ops/leaky_relu_gradient.ts";
import { lpipsDistanceOp } from "../ops/lpips_distance.ts";
import { matmulOp } from "../ops/matmul.ts";
import { maxPool2dOp } from "../ops/max_pool2d.ts";
import { nearestUpsampleOp } from "../ops/nearest_upsample.ts";
import { padColumnsOp } from "../ops/pad_columns.ts";
import { patchifyOp, unpatchifyOp } from "../ops/patchify.ts";
import { posteriorSampleOp } from "../ops/posterior_sample.ts";
import { qkNormRopeOp } from "../ops/qk_norm_rope.ts";
import { runningAffineOp } from "../ops/running_affine.ts";
import { siluOp } from "../ops/silu.ts";
import { temporalPoolOp } from "../ops/temporal_pool.ts";
import { transposeOp } from "../ops/transpose.ts";
import { attentionRule } from "./rules/attention.ts";
import { conv3dRule } from "./rules/conv.ts";
import { addRule, castRule, gatedAddRule, geluRule, siluRule } from "./rules/elementwise.ts";
import {
  embeddingRule,
  gatherRowsRule,
  joinFramesRule,
  joinTokensRule,
  mergeHeadsRule,
  padColumnsRule,
  patchifyRule,
  splitHeadsRule,
  transposeRule,
  unpatchifyRule,
} from "./rules/layout.ts";
import { matmulRule } from "./rules/matmul.ts";
import { layerNormRule, qkNormRopeRule } from "./rules/norms.ts";
import {
  adversarialLossRule,
  blurPoolRule,
  channelAffineRule,
  leakyReluGradientRule,
  leakyReluRule,
  lpipsDistanceRule,
  maxPool2dRule,
  runningAffineRule,
} from "./rules/perceptual.ts";
import {
  causalCacheRule,
  channelsFirstRule,
  channelsLastRule,
  groupNormApplyRule,
  groupNormGradientRule,
  groupNormMergeRule,
  groupNormStatsRule,
  nearestUpsampleRule,
  posteriorSampleRule,
  temporalPoolRule,
} from "./rules/video.ts";

const RULES: ReadonlyMap<Op, GradientRule> = new Map<Op, GradientRule>([
  [addOp, addRule],
  [adversarialLossOp, adversarialLossRule],
  [attentionOp, attentionRule],
  [blurPoolOp, blurPoolRule],
  [castOp, castRule],
  [channelAffineOp, channelAffineRule],
  [causalCacheOp, causalCacheRule],
  [channelsFirstOp, channelsFirstRule],
  [channelsLastOp, channelsLastRule],
  [conv3dOp, conv3dRule],
  [embeddingOp, embeddingRule],
  [gatedAddOp, gatedAddRule],
  [gatherRowsOp, gatherRowsRule],
  [geluOp, geluRule],
  [joinFramesOp, joinFramesRule],
  [joinTokensOp, joinTokensRule],
  [groupNormApplyOp, groupNormApplyRule],
  [groupNormGradientOp, groupNormGradientRule],
  [groupNormMergeOp, groupNormMergeRule],
  [groupNormStatsOp, groupNormStatsRule],
  [layerNormOp, layerNormRule],
  [leakyReluOp, leakyReluRule],
  [leakyReluGradientOp, leakyReluGradientRule],
  [lpipsDistanceOp, lpipsDistanceRule],
  [matmulOp, matmulRule],
  [maxPool2dOp, maxPool2dRule],
  [mergeHeadsOp, mergeHeadsRule],
  [nearestUpsampleOp, nearestUpsampleRule],
  [padColumnsOp, padColumnsRule],
  [patchifyOp, patchifyRule],
  [posteriorSampleOp, posteriorSampleRule],
  [qkNormRopeOp, qkNormRopeRule],
  [runningAffineOp, runningAffineRule],
  [siluOp, siluRule],
  [splitHeadsOp, splitHeadsRule],
  [temporalPoolOp, temporalPoolRule],
  [transposeOp, transposeRule],
  [unpatchifyOp, unpatchifyRule],
]);

/**
 * Gradients with respect to this tensor, f32 or f16, will be asked for. From here on ops that read it, or what is computed from it, are
 * recorded in parts that have gradients, and an op that has none is refused by name. Returns the tensor.
 */
export function watch(tensor: Tensor): Tensor {
  return (tensor.graph as Graph).watch(tensor, (op) => RULES.get(op));
}
