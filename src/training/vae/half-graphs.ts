/**
 * The graphs of one half of a VAE, encoder or decoder, over one batch of a clip's frames: forward, and backward once more. Between batches
 * lie, as states, the frames that convolutions keep (`conv_cache.…`), and on the way back the gradients with respect to them
 * (`cache_gradient.…`), which are added to those of the batch that kept them. So a clip of any length has its true gradients, those of one
 * graph over all of it with each batch's own statistics.
 */
import { type Cotangent, differentiate, type DifferentiateOptions } from "../../gradient/differentiate.ts";
import { watch } from "../../gradient/watch.ts";
import { Graph } from "../../graph/graph.ts";
import type { Node } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { cacheState, inputChannels, outputChannels, weightTypes } from "../../models/vae/batches.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { type CausalCaches, recordDecoder, recordEncoder } from "../../models/vae/forward.ts";
import { cast } from "../../ops/cast.ts";
import { channelsFirst, channelsLast } from "../../ops/channels.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import { type Parameter, standIns, type Trained } from "../parameters.ts";
import { withSums } from "../step-graphs.ts";

/** What a batch of frames is differentiated for: records losses over what the half makes of it, and says where gradients begin. */
export type Objective = (graph: Graph, made: Tensor) => readonly Cotangent[];

export interface HalfRecipe {
  readonly config: VaeConfig;
  readonly weights: Pick<WeightProvider, "type">;
  readonly part: "encode" | "decode";
  /** Storage type of activations that f16 can hold. */
  readonly dtype: "f32" | "f16";
  readonly trained: Trained;
  /** Is what a resnet block computes inside computed once more for its gradient, and not kept? */
  readonly again: boolean;
  /** Are gradients with respect to the pixels or latents asked for? */
  readonly ofInput: boolean;
  /**
   * Given what is made, moments or pixels [B, F, H, W, C padded] with channels last. Default: the input `dy` [B, C, F, H, W] is the
   * gradient with respect to the half's result.
   */
  readonly objective?: Objective;
}

/** A batch of frames, by what all of its kind share. */
export interface FrameBatchShape {
  readonly batch: number;
  /** Of the half's input. */
  readonly frames: number;
  readonly height: number;
  readonly width: number;
  /** Is there a batch of frames before, is there one after? */
  readonly continues: boolean;
  readonly continued: boolean;
}

/** The state that holds the gradient with respect to what a convolution kept. */
export const cacheGradientState = (prefix: string): string => `cache_gradient.${prefix}`;
/** Is it the state of what a convolution kept? */
export const isCache = (state: string): boolean => state.startsWith(cacheState(""));
/** Is it one of the states between batches? */
export const isBetween = (state: string): boolean => isCache(state) || state.startsWith(cacheGradientState(""));

/** A resnet block by the scope of its nodes, wherever that lies in others. */
export const resnetOf = ({ scope }: Node): string | undefined =>
  /^.*\b(?:en|de)coder\.(?:mid_block|(?:up|down)_blocks\.\d+)\.resnets\.\d+/.exec(scope)?.[0];

/** How gradients are taken: with resnet blocks computed once more, or with everything kept. */
export const checkpointing = (again: boolean): DifferentiateOptions => (again ? { again: resnetOf } : {});

function begin({ config, weights, part, trained }: HalfRecipe, { batch, frames, height, width }: FrameBatchShape, what: string) {
  const { parameters, standIn } = standIns(trained);
  const graph = new Graph(`vae.${part}.${what}`, weightTypes(weights), standIn);
  return { graph, parameters, x: graph.input("x", [batch, inputChannels(config, part), frames, height, width]) };
}

const made = ({ config, part, dtype }: HalfRecipe, graph: Graph, x: Tensor, caches: CausalCaches): Tensor =>
  (part === "encode" ? recordEncoder : recordDecoder)({ graph, config, dtype, caches }, channelsLast(x));

/** Input `x` [B, C, F, H, W] → output `y`, moments or pixels in the same order; what convolutions keep is updated. */
export function forwardGraph(recipe: HalfRecipe, shape: FrameBatchShape): Graph {
  const { graph, x } = begin(recipe, shape, "forward");
  const y = made(recipe, graph, x, {
    ...(shape.continues ? { before: (prefix, of, type) => graph.state(cacheState(prefix), of, type) } : {}),
    ...(shape.continued
      ? { keep: (prefix, frames) => graph.update(graph.state(cacheState(prefix), frames.shape, frames.dtype), frames) }
      : {}),
  });
  graph.output("y", channelsFirst(y, outputChannels(recipe.config, recipe.part)));
  return graph;
}

/**
 * Input `x`, the cotangent `dy` or what the objective wants, and `begun`: are there sums of gradients already (`accumulate`)? Gradients of
 * parameters are added up in the states `gradient:NAME`; those of what the batch before kept are left in `cache_gradient.…`, which hold
 * those of what this batch kept when the run begins. Output `dx` where it is asked for.
 */
export function backwardGraph(recipe: HalfRecipe, shape: FrameBatchShape): Graph {
  const { graph, parameters, x } = begin(recipe, shape, "backward");
  if (recipe.ofInput) watch(x);
  const before = new Map<string, Tensor>();
  const kept = new Map<string, Tensor>();
  const result = made(recipe, graph, x, {
    ...(shape.continues
      ? {
          before: (prefix, of, type, convolved) => {
            const cache = graph.state(cacheState(prefix), of, type);
            // What nothing depends on that is learned needs no gradient here, and had none in the batch that kept it.
            if (graph.isWatched(convolved)) before.set(prefix, watch(cache));
            return cache;
          },
        }
      : {}),
    ...(shape.continued ? { keep: (prefix, frames) => void (graph.isWatched(frames) && kept.set(prefix, frames)) } : {}),
  });
  const cotangents = recipe.objective ? [...recipe.objective(graph, result)] : [ofResult(recipe, graph, result)];
  for (const [prefix, of] of kept) cotangents.push({ of, gradient: cacheGradient(graph, prefix, of) });
  const list = [...parameters];
  const wanted = [...(recipe.ofInput ? [x] : []), ...before.values(), ...list.map(([, tensor]) => tensor)];
  const found = differentiate(cotangents, wanted, checkpointing(recipe.again));
  const dx = recipe.ofInput ? found.shift() : undefined;
  if (dx) graph.output("dx", dx);
  graph.unwatched(() => {
    for (const [prefix, cache] of before) graph.update(cacheGradient(graph, prefix, cache), cast(found.shift()!, cache.dtype));
  });
  const gradients = new Map<Parameter, Tensor>(list.flatMap(([parameter], i) => (found[i] ? [[parameter, found[i]] as const] : [])));
  return withSums({ graph, gradients });
}

/** In the type of the frames, as gradients between convolutions are. */
const cacheGradient = (graph: Graph, prefix: string, frames: Tensor): Tensor =>
  graph.state(cacheGradientState(prefix), frames.shape, frames.dtype);

function ofResult(recipe: HalfRecipe, graph: Graph, result: Tensor): Cotangent {
  const of = channelsFirst(result, outputChannels(recipe.config, recipe.part));
  return { of, gradient: graph.input("dy", of.shape) };
}
