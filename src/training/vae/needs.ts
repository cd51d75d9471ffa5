/** What a step of a VAE's training takes on an adapter, told from its config alone: nothing is loaded. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { measurePlans } from "../../pipelines/requirements.ts";
import { compile, type Plan } from "../../plan/compile.ts";
import { sharedStates } from "../../run/states.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import { Stepper } from "../stepper.ts";
import { parameterNames } from "../update.ts";
import { discriminatorMicro } from "./judges.ts";
import { DISCRIMINATOR_PREFIX, type VaeWeights } from "./losses.ts";
import type { TrainVaeOptions } from "./options.ts";
import { vaeMicro } from "./record.ts";
import type { PixelShape } from "./sample.ts";
import { vaeRecipe, vaeSteppers } from "./trained.ts";

/** Bytes on the adapter, and what a step is; with a discriminator, of a step that asks it. */
export interface VaeTrainingNeeds {
  readonly shape: PixelShape;
  /** What is trained, in f32, a discriminator's weights too. */
  readonly parameters: number;
  /** The optimizers' means, averages, sums of gradients. */
  readonly states: number;
  /** Of the VAE and of LPIPS, as they stay. */
  readonly frozen: number;
  readonly activations: number;
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
  const plansOf = (graphs: readonly Parameters<typeof compile>[0][]): { plan: Plan; times: number }[] =>
    graphs.map((graph, i) => ({ plan: compile(graph, caps, options.compile ?? {}), times: i === 0 ? accumulation : 1 }));
  const plans = [
    ...plansOf(Stepper.graphsOf(vaeMicro(recipe, shape, asked), steppers.vae)),
    ...(asked.discriminator && judges.discriminator
      ? plansOf(Stepper.graphsOf(discriminatorMicro(judges.discriminator, shape, dtype), steppers.discriminator))
      : []),
  ];
  const all = plans.map(({ plan }) => plan);
  const needs = measurePlans("training", all);
  const states = sharedStates(all);
  const names = new Set(
    parameterNames(states.keys()).filter((name) => !name.startsWith(DISCRIMINATOR_PREFIX) || !/\.running_(?:mean|var)$/.test(name)),
  );
  const bytesOf = (which: (name: string) => boolean): number =>
    [...states].reduce((sum, [name, { bytes }]) => sum + (which(name) ? bytes : 0), 0);
  return {
    shape,
    parameters: bytesOf((name) => names.has(name)),
    states: bytesOf((name) => !names.has(name)),
    frozen: needs.weights,
    activations: needs.activations,
    io: needs.io,
    total: needs.total,
    peak: needs.peak,
    flops: plans.reduce((sum, { plan, times }) => sum + times * plan.cost.flops, 0),
    plans,
  };
}
