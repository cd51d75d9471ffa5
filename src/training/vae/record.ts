/**
 * The graph of a VAE's micro-step: frames through encoder and decoder, losses, gradients. Clips go through in the batches of frames of
 * inference, whose convolutions keep frames for the next batch; gradients flow back through what was kept.
 *
 *   B clips, F frames of a part, H × W pixels, Z latent channels
 */
import { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { weightTypes } from "../../models/vae/batches.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { type CausalCaches, recordDecoder, recordEncoder, type VaeRecorder } from "../../models/vae/forward.ts";
import { recordLpips } from "../../models/lpips/forward.ts";
import { channelsFirst, channelsLast } from "../../ops/channels.ts";
import { posteriorSample } from "../../ops/posterior_sample.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import { gradientsOf, standIns, type Trained } from "../parameters.ts";
import type { RecordedMicro } from "../step-graphs.ts";
import { judgedStandIn, type VaeJudges } from "./judges.ts";
import { LPIPS_PREFIX, type LossPart, recordGeneratorLosses } from "./losses.ts";
import type { Passes } from "./passes.ts";
import { checkpointing } from "./recompute.ts";
import { latentSize, partsOfClip, type ClipPart, type PixelShape } from "./sample.ts";

/** Which half of the VAE is trained. With the encoder as it is, latents that a transformer has learned stay valid. */
export const VAE_PARTS = ["decoder", "encoder", "both"] as const;
export type TrainedPart = (typeof VAE_PARTS)[number];

/** What of a block's forward pass is kept for its gradient: all of it, or its input, from which the rest is computed once more. */
export const VAE_CHECKPOINTING = ["none", "blocks"] as const;

export interface VaeRecipe {
  readonly config: VaeConfig;
  readonly weights: Pick<WeightProvider, "type">;
  readonly dtype: "f32" | "f16";
  readonly trained: Trained;
  readonly part: TrainedPart;
  readonly checkpointing: (typeof VAE_CHECKPOINTING)[number];
  /** Do all frames of a clip go through together, norms over all of them? */
  readonly whole: boolean;
  /** Does a clip go through in one graph, or by batches of frames? */
  readonly passes: Passes;
  /** Is LPIPS of one frame of each clip? Default: of all. */
  readonly oneFrame?: boolean;
  /** Default: none. */
  readonly judges?: VaeJudges;
}

/** Which judges a step asks: LPIPS where it counts, a discriminator from its first step on. */
export interface AskedJudges {
  readonly lpips: boolean;
  readonly discriminator: boolean;
}

/** The decoder's last weight, where gradients of a reconstruction and of a discriminator are weighed against each other. */
export const LAST_WEIGHT = "decoder.conv_out.conv.weight";

export const lastWeight = (graph: Graph, { out_channels, block_out_channels: [width] }: VaeConfig): Tensor =>
  graph.weight(LAST_WEIGHT, [out_channels, width!, 3, 3, 3]);

/** Names of inputs and outputs of a part. */
export const ofPart = (name: string, part: number): string => `${name}.${part}`;

/** What a part of a clip comes to. */
interface ReconstructedPart {
  readonly made: Tensor;
  readonly moments: Tensor | undefined;
}

/** Forward, losses and gradients. */
export function vaeMicro(recipe: VaeRecipe, shape: PixelShape, asked: AskedJudges = { lpips: false, discriminator: false }): RecordedMicro {
  const { parameters, standIn } = standIns(recipe.trained);
  const { config, judges = {}, part: trained } = recipe;
  const graph = new Graph("train vae", weightTypes(recipe.weights), judgedStandIn(standIn));
  const reconstruct = reconstruction(graph, recipe, shape);
  const parts = partsOfClip(recipe.config, shape.frames, recipe.whole).map((part, i): LossPart => {
    const { made, moments } = reconstruct(part, i);
    const target = graph.unwatched(() => channelsLast(pixelsOf(graph, shape, part, i)));
    return { made, target, ...(moments && recipe.part !== "decoder" ? { moments } : {}) };
  });
  const cotangents = recordGeneratorLosses(graph, parts, {
    latents: config.latent_channels,
    dtype: recipe.dtype,
    oneFrame: recipe.oneFrame === true && asked.lpips,
    ...(asked.lpips && judges.lpips ? { lpips: judges.lpips.network } : {}),
    ...(asked.discriminator && judges.discriminator ? { discriminator: judges.discriminator.config } : {}),
    ...(trained === "encoder" ? {} : { last: lastWeight(graph, config) }),
  });
  return { graph, gradients: gradientsOf(cotangents, parameters, checkpointing(config, recipe.checkpointing === "blocks")) };
}

/** The graph of a reconstruction that nothing is learned from: outputs `made.i` [B, 3, F, H, W]. @param standIn the weights of the run */
export function reconstructionGraph(recipe: VaeRecipe, shape: PixelShape, standIn: Graph["standIn"]): Graph {
  const graph = new Graph("reconstruct", weightTypes(recipe.weights), standIn);
  const reconstruct = reconstruction(graph, recipe, shape);
  for (const [i, part] of partsOfClip(recipe.config, shape.frames, recipe.whole).entries())
    graph.output(ofPart("made", i), channelsFirst(reconstruct(part, i).made, 3));
  return graph;
}

/**
 * Records one part after another. Where the encoder is trained, `x.i` goes through it and the latents are drawn with `noise.i`; else `z.i`
 * are the latents, drawn already.
 */
function reconstruction(
  graph: Graph,
  { config: c, dtype, part: trained, whole }: VaeRecipe,
  shape: PixelShape,
): (part: ClipPart, index: number) => ReconstructedPart {
  const size = latentSize(c, shape);
  const last = partsOfClip(c, shape.frames, whole).length - 1;
  const kept = new Map<string, Tensor>();
  return (part, index) => {
    const caches: CausalCaches = {
      ...(index > 0 ? { before: (prefix: string) => kept.get(prefix)! } : {}),
      ...(index < last ? { keep: (prefix: string, frames: Tensor) => void next.set(prefix, frames) } : {}),
    };
    const next = new Map<string, Tensor>();
    const recorder: VaeRecorder = { graph, config: c, dtype, caches };
    const made = graph.scope(`part.${index}`, () => {
      const drawn = [shape.clips, c.latent_channels, part.latents, size.height, size.width];
      if (trained === "decoder")
        return { made: recordDecoder(recorder, channelsLast(graph.input(ofPart("z", index), drawn))), moments: undefined };
      const moments = recordEncoder(recorder, channelsLast(pixelsOf(graph, shape, part, index)));
      const noise = channelsLast(graph.input(ofPart("noise", index), drawn));
      const z = posteriorSample(moments, noise, { latents: c.latent_channels });
      return { made: recordDecoder(recorder, z), moments };
    });
    for (const [prefix, tensor] of next) kept.set(prefix, tensor);
    return made;
  };
}

/** The input `x.i`, which the encoder reads and the losses compare with. */
const pixelsOf = (graph: Graph, { clips, height, width }: PixelShape, { frames }: ClipPart, index: number): Tensor =>
  graph.inputs.get(ofPart("x", index)) ?? graph.input(ofPart("x", index), [clips, 3, frames, height, width]);

/** The graph of LPIPS between what was made and its clip, both [1, 3, T, H, W], in f32 as in the loss: output `lpips` [T]. */
export function distanceGraph({ weights, judges }: VaeRecipe, { frames, height, width }: PixelShape): Graph {
  const graph = new Graph("lpips", weightTypes(weights));
  const [a, b] = ["made", "x"].map((name) => channelsLast(graph.input(name, [1, 3, frames, height, width]))) as [Tensor, Tensor];
  graph.output("lpips", recordLpips(judges!.lpips!.network, a, b, { prefix: LPIPS_PREFIX }));
  return graph;
}
