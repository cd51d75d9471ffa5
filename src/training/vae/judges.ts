/**
 * Networks that judge what a VAE makes, in the graphs of its training: LPIPS, whose weights are frozen beside the VAE's, and a
 * discriminator, which is trained in turn with it. Its weights are states under {@link DISCRIMINATOR_PREFIX}: in the generator's graph
 * nothing trains them, in that of the discriminator's step they are the parameters.
 */
import { CogwheelError } from "../../base/errors.ts";
import { elements } from "../../base/shape.ts";
import { type AskedWeight, Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { type DiscriminatorConfig, discriminatorWeights } from "../../models/discriminator/config.ts";
import type { LpipsNetwork } from "../../models/lpips/layers.ts";
import type { LpipsDigests } from "../../models/lpips/open.ts";
import { cast } from "../../ops/cast.ts";
import { channelsLast } from "../../ops/channels.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import { fullParameters } from "../full.ts";
import { gradientsOf, standIns, type Trained } from "../parameters.ts";
import type { RecordedMicro } from "../step-graphs.ts";
import { DISCRIMINATOR_PREFIX, type GradientPenalty, LPIPS_PREFIX, recordDiscriminatorLosses } from "./losses.ts";
import type { PixelShape } from "./sample.ts";

/** A network whose features of two pictures are compared, and its weights. */
export interface LpipsJudge {
  readonly network: LpipsNetwork;
  /** By the network's own names. */
  readonly weights: WeightProvider;
  /** What tells its weights from others, where that is known: a run goes on with the same ones. */
  digests?(signal?: AbortSignal): Promise<LpipsDigests>;
}

export interface DiscriminatorJudge {
  readonly config: DiscriminatorConfig;
  /** What its weights and running statistics begin with, by its own names (`initialDiscriminator`). */
  readonly initial: ReadonlyMap<string, Float32Array>;
  readonly penalty?: GradientPenalty;
}

export interface VaeJudges {
  readonly lpips?: LpipsJudge;
  readonly discriminator?: DiscriminatorJudge;
}

/** The VAE's weights, and those of LPIPS under its prefix. */
export function judgedWeights(weights: WeightProvider, { lpips }: VaeJudges): WeightProvider {
  if (!lpips) return weights;
  const of = <T>(name: string, use: (provider: WeightProvider, name: string) => T): T =>
    name.startsWith(LPIPS_PREFIX) ? use(lpips.weights, name.slice(LPIPS_PREFIX.length)) : use(weights, name);
  return {
    type: (name) => of(name, (provider, own) => provider.type(own)),
    stored: (name) => of(name, (provider, own) => provider.stored(own)),
    ...(weights.changes ? { changes: (name: string) => (name.startsWith(LPIPS_PREFIX) ? [] : weights.changes!(name)) } : {}),
    ...(weights.judge ? { judge: (losses: Parameters<NonNullable<WeightProvider["judge"]>>[0]) => weights.judge!(losses) } : {}),
  };
}

/** What stands for weights in the generator's graph: a discriminator's are read as they are. @param standIn for all others */
export function judgedStandIn(standIn: Graph["standIn"]): Graph["standIn"] {
  return (weight: AskedWeight, graph: Graph): Tensor | undefined => {
    const [name] = weight.names as [string];
    if (!name.startsWith(DISCRIMINATOR_PREFIX)) return standIn(weight, graph);
    const state = graph.state(name, weight.shape);
    return weight.dtype === "f16" ? cast(state, "f16") : state;
  };
}

/** What is trained, with the values that a discriminator's states begin with; throws where one has none of its size. */
export function judgedInitial(trained: Trained, { discriminator }: VaeJudges): Trained {
  if (!discriminator) return trained;
  return {
    ...trained,
    initial(parameter) {
      if (!parameter.name.startsWith(DISCRIMINATOR_PREFIX)) return trained.initial(parameter);
      const name = parameter.name.slice(DISCRIMINATOR_PREFIX.length);
      const values = discriminator.initial.get(name);
      if (values?.length !== elements(parameter.shape))
        throw new CogwheelError(
          "training",
          `what a discriminator begins with must have ${elements(parameter.shape)} values of ${name}, [${parameter.shape.join(", ")}], ` +
            `got ${values?.length ?? "none"}; give all of its weights and running statistics, or leave initial out`,
        );
      return values;
    },
  };
}

/**
 * The graph of the discriminator's step, with its gradients. Inputs: `x` [B, 3, T, H, W], the clips; `made` [B, T, H, W, 4], what the
 * generator's step gave of them; `discriminator` [1], half the scale of the loss; with `penalised` `penalty` [4]. Outputs: `loss.real`,
 * `loss.made` [1]; with it `loss.penalty` [B]. A step that is penalised is in f32: gradients of clips are too small for f16.
 */
export function discriminatorMicro(
  { config }: DiscriminatorJudge,
  shape: PixelShape,
  { dtype: given, penalised = false }: { readonly dtype: "f32" | "f16"; readonly penalised?: boolean },
): RecordedMicro {
  const dtype = penalised ? "f32" : given;
  const names = [...discriminatorWeights(config).keys()].map((name) => DISCRIMINATOR_PREFIX + name);
  const { parameters, standIn } = standIns(fullParameters(names));
  const graph = new Graph("train discriminator", () => dtype, standIn);
  const { clips, frames, height, width } = shape;
  const real = channelsLast(graph.input("x", [clips, 3, frames, height, width]));
  const made = graph.input("made", [clips, frames, height, width, 4]);
  const cotangents = recordDiscriminatorLosses(graph, config, { real, made }, { dtype, penalised });
  return { graph, gradients: gradientsOf(cotangents, parameters) };
}

/** What the lengths of gradients cost, from what the graph gave; undefined of a step that is not penalised. */
export const penaltyLoss = (outputs: Readonly<Record<string, ArrayLike<number>>>): number | undefined =>
  outputs["loss.penalty"] && Array.from(outputs["loss.penalty"]).reduce((sum, one) => sum + one, 0);

/** ½ (mean relu(1 − D(real)) + mean relu(1 + D(made))), from what the graph gave. */
export const discriminatorLoss = (outputs: Readonly<Record<string, ArrayLike<number>>>): number =>
  0.5 * (outputs["loss.real"]![0]! + outputs["loss.made"]![0]!);
