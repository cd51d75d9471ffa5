/** Training runs of the VAE: every step on the engine, from the case's clips and draws, and the discriminator's in turn. */
import { CogwheelError } from "../../../base/errors.ts";
import { isObject } from "../../../base/json-scan.ts";
import { elements } from "../../../base/shape.ts";
import { discriminatorWeights, parseDiscriminatorConfig, runningStatistics } from "../../../models/discriminator/config.ts";
import { lpipsNetwork } from "../../../models/lpips/layers.ts";
import { vaeWeights } from "../../../models/vae/batches.ts";
import { parseVaeConfig } from "../../../models/vae/config.ts";
import { parameterValues } from "../../../training/export.ts";
import type { VaeWeights } from "../../../training/vae/losses.ts";
import type { DiscriminatorTraining } from "../../../training/vae/options.ts";
import type { PixelSample } from "../../../training/vae/sample.ts";
import { type VaeStepReport, VaeTrainer } from "../../../training/vae/trainer.ts";
import { agree, expectCaseWeights, hostTensor, inputOf } from "../case.ts";
import type { ModuleContext, ReferenceModule } from "../module.ts";
import type { HostTensor, ReferenceCase } from "../reference-case.ts";
import { RunOptionsOfCase, torchOptimizer } from "./run-options.ts";

/** What a step's losses are called in the format. */
const LOSSES = ["loss", "rec", "kl", "generator", "discriminator", "penalty"] as const;

const trainVae: ReferenceModule = async (c, context) => {
  const options = new RunOptionsOfCase(c);
  const config = parseVaeConfig(partOf(c, "vae") ?? c.config, c.name);
  const weights = context.weights("vae.");
  expectCaseWeights(c, weights, vaeWeights(config));
  const losses = lossWeights(options);
  const { discriminator, lr: rateOfDiscriminator } = discriminatorOf(c, context, options);
  const lpips = losses.perceptual > 0 ? lpipsOf(context) : undefined;
  const optimizer = torchOptimizer(options.group("optimizer"));
  const trainer = await VaeTrainer.create(
    { gpu: context.gpu, config, weights },
    {
      part: "both",
      optimizer,
      maxGradNorm: options.number("max_grad_norm") ?? Infinity,
      dtype: context.dtype,
      losses,
      ...(lpips ? { lpips } : {}),
      ...(discriminator ? { discriminator } : {}),
    },
  );
  using held = trainer;
  const steps = stepsOf(c);
  const told: VaeStepReport["losses"][] = [];
  for (const [step, { samples, noise }] of steps.entries()) {
    const take = () =>
      held.step([{ samples, noise, step, first: 0 }], { lr: optimizer.lr, discriminator: rateOfDiscriminator ?? optimizer.lr }, losses);
    let report = await take();
    // Another implementation takes every step, so one whose gradients overflow f16 is taken again, with half the scale of the loss.
    while (!report.taken) report = await take();
    told.push(report.losses);
  }
  const values = await parameterValues(context.gpu, held.states);
  const out: Record<string, HostTensor> = {};
  for (const [name, { shape }] of c.outputs) {
    if (LOSSES.includes(name as never)) {
      // Of losses that begin with the discriminator a case may have those steps alone.
      const all = told.map((of) => of[name] ?? 0);
      out[name] = hostTensor(Float32Array.from(all.slice(all.length - Math.min(shape[0] ?? all.length, all.length))), shape);
      continue;
    }
    const own = name.replace(/^weight\./, "");
    const data = values.get(own.startsWith("vae.") ? own.slice("vae.".length) : own) ?? c.weights.get(own)?.data;
    if (data) out[name] = hostTensor(data.subarray(0, elements(shape)), shape);
  }
  return out;
};

/** The config of a part, where the case has one of each. */
function partOf(c: ReferenceCase, part: string): Record<string, unknown> | undefined {
  const config = c.config[part] ?? c.options[part];
  return isObject(config) ? config : undefined;
}

function lossWeights(options: RunOptionsOfCase): VaeWeights {
  const weights = options.group("weights");
  const of = (name: string) => weights?.number(name) ?? 0;
  return { l1: of("l1"), mse: of("mse"), perceptual: of("perceptual"), kl: of("kl"), disc: of("disc") };
}

function lpipsOf(context: ModuleContext) {
  const { shape, stored } = context.weights("lpips.");
  // In f32 whatever the storage: features of pictures that are much alike differ little.
  return { network: lpipsNetwork(shape), weights: { type: () => "f32" as const, stored } };
}

function discriminatorOf(
  c: ReferenceCase,
  context: ModuleContext,
  options: RunOptionsOfCase,
): { discriminator?: DiscriminatorTraining; lr?: number } {
  const given = partOf(c, "discriminator");
  if (!given) return {};
  const config = parseDiscriminatorConfig(given, c.name);
  const weights = context.weights("discriminator.");
  expectCaseWeights(c, weights, discriminatorWeights(config));
  const initial = new Map([...discriminatorWeights(config).keys()].map((name) => [name, weights.values(name)] as const));
  for (const [name, shape] of runningStatistics(config)) {
    const before = weights.shape(name) ? weights.values(name) : new Float32Array(shape[0]!).fill(name.endsWith("running_var") ? 1 : 0);
    initial.set(name, before);
  }
  const bounds = options.group("adaptive");
  const optimizer = torchOptimizer(options.group("discriminator_optimizer") ?? options.group("optimizer"));
  return {
    lr: optimizer.lr,
    discriminator: {
      config,
      initial,
      optimizer,
      start: options.number("disc_start") ?? 0,
      adaptive: { clamp: bounds?.number("clamp") ?? 1e4, eps: bounds?.number("eps") ?? 1e-4 },
      ...penaltyOf(c, options),
    },
  };
}

function penaltyOf(c: ReferenceCase, options: RunOptionsOfCase): Pick<DiscriminatorTraining, "penalty"> {
  const given = options.group("penalty");
  if (!given) return {};
  const kind = (c.options["penalty"] as { kind?: unknown }).kind;
  if (kind !== "r1" && kind !== "unit")
    throw new CogwheelError("reference", `${c.name}: options.penalty.kind must be r1 or unit, got ${JSON.stringify(kind)}; correct it`);
  const every = given.number("every");
  return { penalty: { kind, weight: given.number("weight") ?? 1, ...(every === undefined ? {} : { every }) } };
}

/** The clips of every step, which come again in turn where there are fewer than steps, and the draws of their posteriors. */
function stepsOf(c: ReferenceCase): { samples: PixelSample[]; noise: Float32Array[] }[] {
  const [x, noise] = [inputOf(c, "x", 6), inputOf(c, "posterior_noise", 6)];
  agree(c, { x: [x, "XB1234"], posterior_noise: [noise, "SB5678"] });
  const [own, clips, channels, frames, height, width] = x.shape as [number, number, number, number, number, number];
  const [steps] = noise.shape as [number];
  if (channels !== 3) throw new CogwheelError("reference", `${c.name}: clips must have 3 channels, got ${channels}; make the case again`);
  const part = ({ data, shape }: HostTensor, step: number, clip: number): Float32Array => {
    const size = data.length / (shape[0]! * clips);
    return data.subarray((step * clips + clip) * size, (step * clips + clip + 1) * size);
  };
  return Array.from({ length: steps }, (_, step) => ({
    samples: Array.from({ length: clips }, (_, i) => ({ pixels: part(x, step % own, i), frames, height, width })),
    noise: Array.from({ length: clips }, (_, i) => part(noise, step, i)),
  }));
}

export const vaeTrainingModules: Record<string, ReferenceModule> = { "train.AutoencoderKLCogVideoX": trainVae };
