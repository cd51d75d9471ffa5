/**
 * The graphs of one half of a VAE, encoder or decoder, over one batch of a clip's frames: forward, and backward once more. Between batches
 * lie, as states, the frames that convolutions keep (`conv_cache.…`), and on the way back the gradients with respect to them
 * (`cache_gradient.…`), which are added to those of the batch that kept them. So a clip of any length has its true gradients, those of one
 * graph over all of it with each batch's own statistics.
 */
import { elements } from "../../base/shape.ts";
import { type Cotangent, differentiate } from "../../gradient/differentiate.ts";
import { watch } from "../../gradient/watch.ts";
import type { DType } from "../../graph/dtype.ts";
import { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { cacheState, inputChannels, outputChannels, weightTypes } from "../../models/vae/batches.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { type CausalCaches, recordDecoder, recordEncoder } from "../../models/vae/forward.ts";
import { cast } from "../../ops/cast.ts";
import { channelsFirst, channelsLast } from "../../ops/channels.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import { type Parameter, standIns, type Trained } from "../parameters.ts";
import { withSums } from "../step-graphs.ts";
import { checkpointing } from "./recompute.ts";

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
  /** What stands for weights where nothing is learned, such as averages. Default: the parameters themselves. */
  readonly standIn?: Graph["standIn"];
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
export const cacheGradientState = (slot: string): string => `cache_gradient.${slot}`;
/** Is it the state of what a convolution kept? */
export const isCache = (state: string): boolean => state.startsWith(cacheState(""));
/**
 * Names what convolutions keep by size, and by how many of that size came before: the halves of a VAE, which never run at once, have their
 * states in common.
 */
function cacheSlots(): (prefix: string, shape: readonly number[], dtype: DType) => string {
  const slots = new Map<string, string>();
  const counts = new Map<string, number>();
  return (prefix, shape, dtype) => {
    const size = `${dtype} ${elements(shape)}`;
    const slot = slots.get(prefix) ?? `${size} ${counts.get(size) ?? 0}`;
    if (!slots.has(prefix)) counts.set(size, (counts.get(size) ?? 0) + 1);
    slots.set(prefix, slot);
    return slot;
  };
}

/** Is it one of the states between batches? */
export const isBetween = (state: string): boolean => isCache(state) || state.startsWith(cacheGradientState(""));

function begin({ config, weights, part, trained, ...recipe }: HalfRecipe, { batch, frames, height, width }: FrameBatchShape, what: string) {
  const { parameters, standIn } = standIns(trained);
  // What converts a weight belongs to the part that reads it: it is done once more with it, and not kept until then.
  const inPart: Graph["standIn"] = (weight, into) => into.scope(weight.names[0]!, () => (recipe.standIn ?? standIn)(weight, into));
  const graph = new Graph(`vae.${part}.${what}`, weightTypes(weights), inPart);
  return { graph, parameters, x: graph.input("x", [batch, inputChannels(config, part), frames, height, width]) };
}

const made = ({ config, part, dtype }: HalfRecipe, graph: Graph, x: Tensor, caches: CausalCaches): Tensor =>
  (part === "encode" ? recordEncoder : recordDecoder)({ graph, config, dtype, caches }, channelsLast(x));

/** Records what else is asked of a batch of frames, over what the half makes of it. */
export type Beside = (graph: Graph, made: Tensor) => void;

/** Input `x` [B, C, F, H, W] → output `y`, moments or pixels in the same order; what convolutions keep is updated. */
export function forwardGraph(recipe: HalfRecipe, shape: FrameBatchShape, beside?: Beside): Graph {
  const { graph, x } = begin(recipe, shape, "forward");
  const slot = cacheSlots();
  const y = made(recipe, graph, x, {
    ...(shape.continues ? { before: (prefix, of, type) => graph.state(cacheState(slot(prefix, of, type)), of, type) } : {}),
    ...(shape.continued
      ? {
          keep: (prefix, frames) => {
            const { shape: of, dtype } = frames;
            graph.update(graph.state(cacheState(slot(prefix, of, dtype)), of, dtype), frames);
          },
        }
      : {}),
  });
  graph.output("y", channelsFirst(y, outputChannels(recipe.config, recipe.part)));
  beside?.(graph, y);
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
  const slot = cacheSlots();
  const before = new Map<string, Tensor>();
  const kept = new Map<string, Tensor>();
  const result = made(recipe, graph, x, {
    ...(shape.continues
      ? {
          before: (prefix, of, type, convolved) => {
            const name = slot(prefix, of, type);
            const cache = graph.state(cacheState(name), of, type);
            // What nothing depends on that is learned needs no gradient here, and had none in the batch that kept it.
            if (graph.isWatched(convolved)) before.set(name, watch(cache));
            return cache;
          },
        }
      : {}),
    ...(shape.continued
      ? {
          keep(prefix, frames) {
            const name = slot(prefix, frames.shape, frames.dtype);
            if (graph.isWatched(frames)) kept.set(name, frames);
          },
        }
      : {}),
  });
  const cotangents = recipe.objective ? [...recipe.objective(graph, result)] : [ofResult(recipe, graph, result)];
  for (const [name, of] of kept) cotangents.push({ of, gradient: cacheGradient(graph, name, of) });
  const list = [...parameters];
  const wanted = [...(recipe.ofInput ? [x] : []), ...before.values(), ...list.map(([, tensor]) => tensor)];
  const found = differentiate(cotangents, wanted, checkpointing(recipe.config, recipe.again));
  const dx = recipe.ofInput ? found.shift() : undefined;
  if (dx) graph.output("dx", dx);
  graph.unwatched(() => {
    for (const [name, cache] of before) graph.update(cacheGradient(graph, name, cache), cast(found.shift()!, cache.dtype));
  });
  const gradients = new Map<Parameter, Tensor>(list.flatMap(([parameter], i) => (found[i] ? [[parameter, found[i]] as const] : [])));
  return withSums({ graph, gradients });
}

/** In the type of the frames, as gradients between convolutions are. */
const cacheGradient = (graph: Graph, slot: string, frames: Tensor): Tensor =>
  graph.state(cacheGradientState(slot), frames.shape, frames.dtype);

function ofResult(recipe: HalfRecipe, graph: Graph, result: Tensor): Cotangent {
  const of = channelsFirst(result, outputChannels(recipe.config, recipe.part));
  return { of, gradient: graph.input("dy", of.shape) };
}
