/**
 * How a discriminator's scores move when what it judges does: the derivative of its scores along a direction, recorded level by level
 * beside the recording that it is of. Its own gradients go through all that both of them read, weights and what was judged, so what they
 * are of is a gradient already: for a scalar L of the scores and v fixed, ⟨v, ∂L/∂x⟩ is the derivative of L along v.
 *
 * A convolution is linear, and moves as it computes. A rectifier's slope is that of its sign. What a norm makes of a change is what its
 * gradient makes of one: with a channel a group both are the same symmetric matrix (group_norm_gradient).
 */
import type { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { channelAffine } from "../../ops/channel_affine.ts";
import { conv3d } from "../../ops/conv3d.ts";
import { groupNormGradient } from "../../ops/group_norm_gradient.ts";
import { groupNormGradientMerge } from "../../ops/group_norm_gradient_merge.ts";
import { groupNormGradientSums } from "../../ops/group_norm_gradient_sums.ts";
import { leakyReluGradient } from "../../ops/leaky_relu_gradient.ts";
import type { DiscriminatorConfig } from "./config.ts";
import { convOptions, type RecordedLevel, SLOPE } from "./forward.ts";

/**
 * @param levels of the recording, all in f32, whose norms are by its own statistics
 * @param v f32 [B, T, H, W, C padded], of the shape of what was judged
 * @returns f32 [B, T', H', W', 4], the first of four: the derivative of every score along v
 */
export function recordDiscriminatorTangent(
  config: DiscriminatorConfig,
  levels: readonly RecordedLevel[],
  v: Tensor,
  { prefix = "" }: { readonly prefix?: string } = {},
): Tensor {
  const graph = v.graph as Graph;
  const k = config.kernel_size;
  let d = v;
  for (const { level, normed, y } of levels) {
    const name = prefix + level.conv;
    const weight = graph.weight(`${name}.weight`, [level.outChannels, level.inChannels, k, k, k]);
    d = graph.scope(`${name}.tangent`, () => conv3d(d, weight, { ...convOptions(config, level), dtype: "f32" }));
    if (normed) {
      const norm = prefix + level.norm!;
      d = graph.scope(`${norm}.tangent`, () => normTangent(graph, normed, level.outChannels, d));
      if (config.norm === "batch") d = channelAffine(d, graph.weight(`${norm}.weight`, [level.outChannels], "f32"));
    }
    if (level.active) d = leakyReluGradient(y, d, SLOPE);
  }
  return d;
}

/** rstd · (d − mean(d) − x̂ · mean(d · x̂)) by channel; the records are fixed by x and d, and gradients are of them alone. */
function normTangent(graph: Graph, { x, norm }: NonNullable<RecordedLevel["normed"]>, channels: number, d: Tensor): Tensor {
  const [weight, bias] = [1, 0].map((v) => graph.constant(v ? "ones" : "zeros", new Float32Array(channels).fill(v))) as [Tensor, Tensor];
  const given = graph.reshape(d, x.shape);
  const rest = { weight, bias, scale: undefined, shift: undefined };
  const plain = { onePlus: false, keepFirst: true, activation: null } as const;
  const merged = graph.unwatched(() => {
    const { sums } = groupNormGradientSums({ x, dy: given, norm, ...rest }, plain);
    return groupNormGradientMerge({ sums, norm, weight }, { groups: channels }).norm;
  });
  return graph.reshape(groupNormGradient({ x, dy: given, norm: merged, ...rest }, plain), d.shape);
}
