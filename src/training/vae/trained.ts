/** From the options of a VAE's run to what trainer and plan share: which weights are trained and what they begin with, recipe, steppers. */
import { vaeWeights } from "../../models/vae/batches.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { drawsOf } from "../draws.ts";
import { fullParameters } from "../full.ts";
import type { Trained } from "../parameters.ts";
import { fromScratch } from "../scratch.ts";
import { discriminatorConfig } from "../../models/discriminator/config.ts";
import { initialDiscriminator } from "../../models/discriminator/initial.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import { judgedWeights, type VaeJudges } from "./judges.ts";
import type { TrainableVae, TrainVaeOptions } from "./options.ts";
import type { StepperOptions } from "../stepper.ts";
import { vaeOptimizers } from "./optimizers.ts";
import type { TrainedPart, VaeRecipe } from "./record.ts";

/** @param scratch the seed of values to begin with, in place of the checkpoint's */
export function trainedVae(config: VaeConfig, part: TrainedPart, scratch?: number): Trained {
  const weights = vaeWeights(config);
  const trained = fullParameters(weights.keys(), (name) => part === "both" || name.startsWith(`${part}.`));
  return scratch === undefined ? trained : fromScratch(trained, { seed: scratch, weights });
}

/** What a run's graphs are recorded by, with what options leave out; its weights are those of LPIPS too. */
export function vaeRecipe(
  { config, weights }: Pick<TrainableVae, "config" | "weights">,
  options: TrainVaeOptions,
): VaeRecipe & { readonly weights: WeightProvider; readonly judges: VaeJudges } {
  const { part = "decoder", dtype = "f32", checkpointing = "blocks", passes = "auto", statistics, scratch, seed = 0 } = options;
  const judges = judgesOf(options);
  return {
    config,
    weights: judgedWeights(weights, judges),
    dtype,
    trained: trainedVae(config, part, scratch ? seed : undefined),
    part,
    checkpointing,
    whole: statistics === "clip",
    passes,
    oneFrame: options.perceptualFrames === "one",
    judges,
  };
}

/** How steps are taken, the VAE's and the discriminator's, of which no average is kept. */
export function vaeSteppers(options: TrainVaeOptions): { readonly vae: StepperOptions; readonly discriminator: StepperOptions } {
  const { dtype = "f32", ema, accumulation, maxGradNorm = 1, offload } = options;
  const optimizers = vaeOptimizers(options);
  const shared = { dtype, accumulation, offload, maxGradNorm: Number.isFinite(maxGradNorm) ? maxGradNorm : undefined };
  return {
    vae: { ...shared, optimizer: optimizers.vae, ema },
    discriminator: { ...shared, optimizer: optimizers.discriminator, name: " of the discriminator" },
  };
}

/** What judges, with the values that a discriminator begins with. */
function judgesOf({ lpips, discriminator, seed = 0 }: TrainVaeOptions): VaeJudges {
  const { generator } = drawsOf(seed, "discriminator");
  const config = discriminator && discriminatorConfig(discriminator.config);
  return {
    ...(lpips ? { lpips } : {}),
    ...(discriminator && config
      ? {
          discriminator: {
            config,
            initial:
              discriminator.initial ??
              initialDiscriminator(
                config,
                (count) => generator.randn([count]),
                (count) => generator.uniform([count], 0, 1),
              ),
            ...(discriminator.penalty ? { penalty: discriminator.penalty } : {}),
          },
        }
      : {}),
  };
}
