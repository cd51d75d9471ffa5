/** What a step of a VAE's training takes on an adapter, told from its config alone: nothing is loaded. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { measurePlans } from "../../pipelines/requirements.ts";
import { compile, type Plan } from "../../plan/compile.ts";
import { sharedStates } from "../../run/states.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import { Stepper } from "../stepper.ts";
import { isMean, parameterNames } from "../update.ts";
import { besideGraphs, clipGraphs } from "./clip-passes.ts";
import { clipBatches } from "./frame-batches.ts";
import { isBetween, isCache } from "./half-graphs.ts";
import { discriminatorMicro } from "./judges.ts";
import { DISCRIMINATOR_PREFIX, type VaeWeights } from "./losses.ts";
import type { TrainVaeOptions } from "./options.ts";
import { goesByBatches } from "./passes.ts";
import { vaeMicro, type VaeRecipe } from "./record.ts";
import { type PixelShape, smallestOf } from "./sample.ts";
import { vaeRecipe, vaeSteppers } from "./trained.ts";

/** Bytes on the adapter, and what a step is; with a discriminator, of a step that asks it. */
export interface VaeTrainingNeeds {
  readonly shape: PixelShape;
  /** Does a clip go through in one graph, by batches of frames, or over workers, whose memory is not told here? */
  readonly passes: "whole" | "batches" | "workers";
  /** What is trained, in f32, a discriminator's weights too. */
  readonly parameters: number;
  /** The optimizers' means, averages, sums of gradients. */
  readonly states: number;
  /** Of the VAE and of LPIPS, as they stay. */
  readonly frozen: number;
  readonly activations: number;
  /** What convolutions keep from one batch of frames to the next, with its gradients. */
  readonly caches: number;
  /**
   * In the host's memory: what they kept before all batches of a clip, until its gradients have come back, and means that lie there between
   * updates.
   */
  readonly host: number;
  readonly io: number;
  readonly total: number;
  readonly peak: number;
  readonly flops: number;
  readonly plans: readonly { readonly plan: Plan; readonly times: number }[];
}

export function vaeTrainingNeeds(
  { config, weights, caps }: { readonly config: VaeConfig; readonly weights: Pick<WeightProvider, "type">; readonly caps: Capabilities },
  options: TrainVaeOptions,
  shape: PixelShape,
  losses: VaeWeights,
): VaeTrainingNeeds {
  const { accumulation = 1 } = options;
  // Nothing is loaded: of weights their types are asked alone.
  const recipe = vaeRecipe({ config, weights: weights as WeightProvider }, options);
  const { dtype, judges } = recipe;
  const steppers = vaeSteppers(options);
  const asked = { lpips: losses.perceptual > 0, discriminator: losses.disc > 0 };
  type Graphs = readonly { readonly graph: Parameters<typeof compile>[0]; readonly times: number }[];
  const split = options.workers !== undefined;
  const byBatches = !split && goesByBatches(recipe, shape);
  const steps = (graphs: readonly Graphs[number]["graph"][]): Graphs => graphs.map((graph, i) => ({ graph, times: i ? 1 : accumulation }));
  const clip = (): Graphs => {
    if (!byBatches && !split) return steps(Stepper.graphsOf(vaeMicro(recipe, shape, asked), steppers.vae));
    const beside = () => besideGraphs(recipe, shape, asked).map((graph) => ({ graph, times: 1 }));
    const graphs = (split ? beside() : clipGraphs(recipe, shape, asked)).map(({ graph, times }) => ({
      graph,
      times: times * accumulation,
    }));
    const [, ...updates] = Stepper.graphsOf(vaeMicro(recipe, smallestOf(config)), steppers.vae, { apart: true });
    return [...graphs, ...updates.map((graph) => ({ graph, times: 1 }))];
  };
  const judged = asked.discriminator && judges.discriminator;
  const graphs = [
    ...clip(),
    ...(judged
      ? steps(
          Stepper.graphsOf(discriminatorMicro(judged, shape, { dtype, penalised: judged.penalty !== undefined }), steppers.discriminator),
        )
      : []),
  ];
  const plans = graphs.map(({ graph, times }) => ({ plan: compile(graph, caps, options.compile ?? {}), times }));
  const all = plans.map(({ plan }) => plan);
  const needs = measurePlans("training", all);
  const states = sharedStates(all);
  const names = new Set(
    parameterNames(states.keys()).filter(
      (name) => !isBetween(name) && (!name.startsWith(DISCRIMINATOR_PREFIX) || !/\.running_(?:mean|var)$/.test(name)),
    ),
  );
  const bytesOf = (which: (name: string) => boolean): number =>
    [...states].reduce((sum, [name, { bytes }]) => sum + (which(name) ? bytes : 0), 0);
  const aside = options.offload ? bytesOf(isMean) - Math.max(...all.map(meanBytes)) : 0;
  return {
    shape,
    passes: split ? "workers" : byBatches ? "batches" : "whole",
    parameters: bytesOf((name) => names.has(name)),
    states: bytesOf((name) => !names.has(name) && !isBetween(name)) - aside,
    frozen: needs.weights,
    activations: needs.activations,
    caches: bytesOf(isBetween),
    host: (byBatches ? putAside(recipe, shape, all) : 0) + (options.offload ? bytesOf(isMean) : 0),
    io: needs.io,
    total: needs.total - aside,
    peak: needs.peak - aside,
    flops: plans.reduce((sum, { plan, times }) => sum + times * plan.cost.flops, 0),
    plans,
  };
}

/** Of means that are on the device for one run. */
const meanBytes = ({ graph }: Plan): number => [...graph.states].reduce((sum, [name, { bytes }]) => sum + (isMean(name) ? bytes : 0), 0);

/** What both halves put aside of a clip: what convolutions kept before each batch, but what the decoder's last one still has in place. */
function putAside({ config, part }: Pick<VaeRecipe, "config" | "part">, { frames }: PixelShape, plans: readonly Plan[]): number {
  const batches = clipBatches({ config, part: "encode" }, { frames }).length;
  const kept = (half: string): number =>
    Math.max(
      0,
      ...plans
        .filter(({ graph }) => graph.name === `vae.${half}.forward`)
        .map(({ graph }) => [...graph.states].reduce((sum, [name, { bytes }]) => sum + (isCache(name) ? bytes : 0), 0)),
    );
  return Math.max(0, batches - 2) * kept("decode") + (part === "decoder" ? 0 : (batches - 1) * kept("encode"));
}
