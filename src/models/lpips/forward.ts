/**
 * LPIPS, recorded under the names of the package's own state dict: how far two pictures are apart to a network that was trained to tell
 * objects apart. Zhang et al. 2018, arXiv:1801.03924; shift-tolerant: Ghildyal & Liu 2022, arXiv:2207.13686.
 *
 *   B batch, T frames, H, W, C channels (padded to a multiple of 4)
 */
import { CogwheelError } from "../../base/errors.ts";
import type { DType } from "../../graph/dtype.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { blurPool } from "../../ops/blur_pool.ts";
import { channelAffine } from "../../ops/channel_affine.ts";
import { conv3d } from "../../ops/conv3d.ts";
import { relu } from "../../ops/leaky_relu.ts";
import { lpipsDistance } from "../../ops/lpips_distance.ts";
import { maxPool2d } from "../../ops/max_pool2d.ts";
import { leastSide, type LpipsConvolution, type LpipsLayer, type LpipsNetwork } from "./layers.ts";

/** What the mean and the deviation of ImageNet's pictures are in −1…1: the package's own figures. */
export const LPIPS_SHIFT = [-0.03, -0.088, -0.188];
export const LPIPS_SCALE = [0.458, 0.448, 0.45];

export interface LpipsOptions {
  /**
   * Storage type of weights and features. Default f32: features of pictures that are much alike differ little, and f16 loses a tenth of
   * the gradients of that.
   */
  readonly dtype?: DType;
  /** What the graph calls a weight begins with this. Default nothing. */
  readonly prefix?: string;
}

/**
 * a and b [B, T, H, W, 4], red, green and blue in −1…1 → f32 [B · T]: the distance of every picture of a to that of b, the sum over layers
 * of the mean over positions.
 */
export function recordLpips(network: LpipsNetwork, a: Tensor, b: Tensor, { dtype = "f32", prefix = "" }: LpipsOptions = {}): Tensor {
  const graph = a.graph as Graph;
  if (a.shape.length !== 5 || a.dim(-1) !== 4 || a.shape.join() !== b.shape.join())
    throw new CogwheelError("lpips", `pictures must be [B, T, H, W, 4], both of one shape, got ${a} and ${b}; bring them into one layout`);
  const least = leastSide(network);
  if (Math.min(a.dim(2), a.dim(3)) < least)
    throw new CogwheelError(
      "lpips",
      `pictures must have ${least} rows and columns at least, got ${a.dim(2)} × ${a.dim(3)}; use larger ones`,
    );
  return graph.scope("lpips", () => {
    const [scale, shift] = [LPIPS_SCALE.map((s) => 1 / s), LPIPS_SHIFT.map((s, i) => -s / LPIPS_SCALE[i]!)].map((values, i) =>
      graph.constant(i ? "lpips.shift" : "lpips.scale", Float32Array.from(values)),
    );
    const both = [a, b].map((x) => features(graph, network.layers, channelAffine(x, scale!, shift!, dtype), prefix, dtype));
    let sum: Tensor | undefined;
    for (const [i, [{ name, channels }, ofA]] of both[0]!.entries())
      sum = lpipsDistance(ofA, both[1]![i]![1], graph.weight(prefix + name, [1, channels, 1, 1], "f32"), sum);
    return sum!;
  });
}

type Features = Extract<LpipsLayer, { kind: "features" }>;

/** Features of every slice, with what their heads are. */
function features(graph: Graph, layers: readonly LpipsLayer[], x: Tensor, prefix: string, dtype: DType): (readonly [Features, Tensor])[] {
  const found: (readonly [Features, Tensor])[] = [];
  let h = x;
  for (const layer of layers) {
    if (layer.kind === "relu") h = relu(h);
    else if (layer.kind === "max_pool") h = maxPool2d(h, layer);
    else if (layer.kind === "blur_pool") h = blurPool(h);
    else if (layer.kind === "features") found.push([layer, h]);
    else h = convolution(graph, h, layer, prefix, dtype);
  }
  return found;
}

/** Rows that a gradient through a convolution can be padded by: conv3d's own bound. */
const MOST_PAD = 7;

function convolution(graph: Graph, x: Tensor, { name, shape, pad }: LpipsConvolution, prefix: string, dtype: DType): Tensor {
  const [channels, , kernel] = shape as [number, number, number];
  // Backwards 11 taps are padded by more than that: there the result has a border, and is cut by a convolution that does nothing else.
  const border = graph.isWatched(x) ? Math.max(0, kernel - 1 - pad - MOST_PAD) : 0;
  const around = (rows: number) => [rows, rows, rows, rows] as const;
  const y = conv3d(x, graph.weight(`${prefix}${name}.weight`, shape, dtype), {
    bias: graph.weight(`${prefix}${name}.bias`, [channels], "f32"),
    pad: around(pad + border),
    dtype,
  });
  if (border === 0) return y;
  const identity = Float32Array.from({ length: channels * channels }, (_, i) => +(i % (channels + 1) === 0));
  return conv3d(y, graph.constant("identity", identity, [channels, channels, 1, 1]), { pad: around(-border), dtype });
}
