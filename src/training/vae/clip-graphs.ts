/**
 * What a clip's micro-step runs beside its halves' batches of frames: latents drawn between the halves, their gradients on the way back,
 * the losses of a batch, a discriminator over the whole clip, and how much that counts.
 *
 *   B clips, T frames, F frames of a batch, H × W pixels, Z latent channels of T' × H' × W'
 */
import { differentiate } from "../../gradient/differentiate.ts";
import { watch } from "../../gradient/watch.ts";
import { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { weightTypes } from "../../models/vae/batches.ts";
import { adaptiveWeight } from "../../ops/adaptive_weight.ts";
import { add } from "../../ops/add.ts";
import { adversarialLoss } from "../../ops/adversarial_loss.ts";
import { channelsFirst, channelsLast } from "../../ops/channels.ts";
import { klLoss } from "../../ops/kl_loss.ts";
import { posteriorSample } from "../../ops/posterior_sample.ts";
import { posteriorSampleGradient } from "../../ops/posterior_sample_gradient.ts";
import { squareSum } from "../../ops/square_sum.ts";
import type { Beside, Objective } from "./half-graphs.ts";
import { judgedStandIn } from "./judges.ts";
import { recordGeneratorLosses, scoresOf } from "./losses.ts";
import { type AskedJudges, lastWeight, type VaeRecipe } from "./record.ts";
import type { PixelShape } from "./sample.ts";

/** Of moments, [B, 2Z, T', H', W']. */
export type MomentsShape = readonly [number, number, number, number, number];

function latentInputs(graph: Graph, shape: MomentsShape) {
  const [batch, twice, ...size] = shape;
  const noise = channelsLast(graph.input("noise", [batch, twice / 2, ...size]));
  return { latents: twice / 2, size: [batch, twice / 2, ...size], moments: channelsLast(graph.input("moments", shape)), noise };
}

/** Moments and noise → latents `z`, as they come and go between halves. */
export function sampleGraph(shape: MomentsShape): Graph {
  const graph = new Graph("vae.sample");
  const { latents, moments, noise } = latentInputs(graph, shape);
  graph.output("z", channelsFirst(posteriorSample(moments, noise, { latents }), latents));
  return graph;
}

/** What the decoder sends back, `dz`, and the KL term → the gradient `dy` with respect to the moments. */
export function posteriorGraph(shape: MomentsShape): Graph {
  const graph = new Graph("vae.posterior");
  const { latents, size, moments, noise } = latentInputs(graph, shape);
  const dz = channelsLast(graph.input("dz", size));
  const { loss, gradient } = klLoss({ moments, settings: graph.input("kl", [2]) }, { latents });
  graph.output("kl.0", loss);
  graph.output("dy", channelsFirst(add(gradient, posteriorSampleGradient({ moments, noise, dz }, { latents })), 2 * latents));
  return graph;
}

/** The losses of a batch of frames, but for a discriminator's, with its pixels as the input `target` [B, 3, F, H, W]. */
export const batchLosses =
  ({ config, dtype, judges, oneFrame }: VaeRecipe, { lpips }: Pick<AskedJudges, "lpips">): Objective =>
  (graph, made) => {
    const [batch, frames, height, width] = made.shape as [number, number, number, number];
    const target = graph.unwatched(() => channelsLast(graph.input("target", [batch, 3, frames, height, width])));
    const network = lpips ? judges?.lpips?.network : undefined;
    return recordGeneratorLosses(graph, [{ made, target }], {
      latents: config.latent_channels,
      dtype,
      ...(network ? { lpips: network, oneFrame: oneFrame === true } : {}),
    });
  };

/**
 * Beside a batch's forward pass: its reconstruction's gradient, `rec` [B, 3, F, H, W], and where the decoder is trained the gradients of
 * both losses at its last weight, `rec at last` and, by the input `gen`, `gen at last`.
 */
export const weighedLosses =
  (recipe: VaeRecipe, asked: AskedJudges): Beside =>
  (graph, made) => {
    // Where the encoder alone is trained nothing before it is watched on the way forward.
    if (!graph.isWatched(made)) watch(made);
    const { gradient: rec } = batchLosses(recipe, asked)(graph, made)[0]!;
    graph.unwatched(() => {
      graph.output("rec", channelsFirst(rec, 3));
      if (recipe.part === "encoder") return;
      const [batch, frames, height, width] = made.shape as [number, number, number, number];
      const gen = channelsLast(graph.input("gen", [batch, 3, frames, height, width]));
      const last = lastWeight(graph, recipe.config);
      for (const [name, gradient] of Object.entries({ rec, gen }))
        graph.output(`${name} at last`, differentiate([{ of: made, gradient }], [last])[0]!);
    });
  };

/** What a discriminator says of the clip `made` [B, 3, T, H, W], `generator` [1], and its gradient `gen`; `clip`, as its own step reads it. */
export function judgedGraph({ weights, dtype, judges }: VaeRecipe, { clips, frames, height, width }: PixelShape): Graph {
  const graph = new Graph(
    "vae.judged",
    weightTypes(weights),
    judgedStandIn(() => undefined),
  );
  const clip = watch(channelsLast(graph.input("made", [clips, 3, frames, height, width])));
  const generator = adversarialLoss(scoresOf(graph, judges!.discriminator!.config, [clip], dtype)[0]!, "generator");
  graph.unwatched(() => {
    const [gen] = differentiate([{ of: generator, gradient: graph.input("generator", [1]) }], [clip]);
    graph.output("generator", generator);
    graph.output("gen", channelsFirst(gen!, 3));
    graph.output("clip", clip);
  });
  return graph;
}

/** Gradients at the decoder's last weight, `rec` and `gen` → how much a discriminator counts, `adaptive`. */
export function adaptiveGraph({ config }: VaeRecipe): Graph {
  const graph = new Graph("vae.adaptive");
  const { shape } = lastWeight(new Graph("like"), config);
  const [rec, gen] = ["rec", "gen"].map((name) => squareSum(graph.input(name, shape))) as [Tensor, Tensor];
  graph.output("adaptive", adaptiveWeight(rec, gen, graph.input("adaptive", [4])));
  return graph;
}
