/** CONFIG.json of a VAE's training and the flags over it, checked, and made what the run needs. */
import { CogwheelError } from "../../../base/errors.ts";
import { type ClipSizes, checkSizes } from "../../../data/clip-size.ts";
import type { VideoVae } from "../../../pipelines/video-vae.ts";
import type { WorkerPlace } from "../../../pipelines/workers/types.ts";
import { defined } from "../../../pipelines/options.ts";
import { parseDiscriminatorConfig } from "../../../models/discriminator/config.ts";
import type { GradientPenalty } from "../../../training/vae/losses.ts";
import type { DiscriminatorTraining, TrainVaeOptions, VaeStageOptions } from "../../../training/vae/options.ts";
import { readKeys, updatesOf } from "../config.ts";
import { flagName } from "../keys.ts";
import { resolutionOf, type StageKeys, stagesOfKeys } from "../stages.ts";
import { VAE_STAGE_KEYS, VAE_TABLE } from "./keys.ts";

/** A stage of a VAE's training. */
export interface VaeStageConfig extends StageKeys {
  readonly crop?: number;
  readonly l1?: number;
  readonly mse?: number;
  readonly perceptual?: number;
  readonly kl?: number;
  readonly disc?: number;
}

export interface VaeTrainConfig {
  readonly model?: string;
  readonly vae?: string;
  readonly data: string;
  readonly out: string;
  readonly adapter?: string;
  readonly variant?: string;
  readonly dtype?: "f32" | "f16";
  readonly seed: number;
  readonly steps: number;
  readonly stages: readonly VaeStageConfig[];
  readonly checkpointEvery: number;
  readonly heldOut?: string;
  readonly heldOutEvery: number;
  readonly part: "decoder" | "encoder" | "both";
  /** Processes that share clips in time. */
  readonly workers?: readonly WorkerPlace[];
  /** Files of LPIPS. */
  readonly lpips?: readonly string[];
  /** What `trainVae` takes of it. */
  readonly options: TrainVaeOptions;
}

export async function readVaeConfig(file: string | undefined, flags: Readonly<Record<string, unknown>>): Promise<VaeTrainConfig> {
  const given = await readKeys(file, flags, VAE_TABLE);
  const fail = (rule: string): never => {
    throw new CogwheelError("train", rule);
  };
  const has = (name: string): boolean => given[name] !== undefined;
  for (const name of ["data", "out"])
    if (!has(name)) fail(`${name} must be given, got none; name a folder with ${flagName(name)}, or in the config`);
  const contradiction = (name: string, holds: boolean, because: string): void => {
    if (holds && has(name)) fail(`${because}, got ${name} with it; leave it out`);
  };
  const stages = stagesOfKeys(given, VAE_STAGE_KEYS, (run, own) => ({ ...run, ...own }) as unknown as VaeStageConfig);
  contradiction("steps", has("stages"), "a run in stages has their steps");
  contradiction("heldOutEvery", !has("heldOut"), "held-out clips are measured where heldOut names some");
  contradiction("momentum", given["optimizer"] !== "muon", "momentum is of muon, and the optimizer is adamw");
  contradiction("floor", (given["schedule"] ?? "constant") === "constant", "a constant schedule does not fall");
  const counts = (name: "perceptual" | "disc"): boolean => stages.some((stage) => (stage[name] ?? 0) > 0);
  contradiction("lpips", !counts("perceptual") && !has("heldOut"), "LPIPS is asked where perceptual is above 0 or heldOut names clips");
  if (counts("perceptual") && !has("lpips"))
    fail("perceptual counts by the files of a network, got none; name them with --lpips (docs/training-vae.md#losses)");
  for (const name of Object.keys(given).filter((one) => /^disc[A-Z]/.test(one)))
    contradiction(name, !counts("disc"), "a discriminator is asked where disc is above 0");
  const penalised = (given["discPenalty"] ?? "none") !== "none";
  for (const name of ["discPenaltyWeight", "discPenaltyEvery"])
    contradiction(name, !penalised, "a discriminator's gradient costs something where discPenalty is r1 or unit");
  if (given["discPenaltyWeight"] === 0) fail("discPenaltyWeight must be above 0, got 0; leave discPenalty out for no penalty");
  contradiction("kl", (given["part"] ?? "decoder") === "decoder", "kl is of the encoder, and the decoder alone is trained");
  contradiction("perceptualFrames", !counts("perceptual"), "LPIPS is learned from where perceptual is above 0");
  if (given["ema"] === 1) fail("ema must be below 1, got 1; 0.9999 is usual");
  const workers = has("workers") ? workersOf(String(given["workers"])) : undefined;
  contradiction("statistics", workers !== undefined, "workers split a clip whose norms are over batches of frames");
  contradiction(
    "perceptualFrames",
    workers !== undefined && given["perceptualFrames"] === "one",
    "workers compare every frame of their pieces",
  );
  contradiction("passes", workers !== undefined, "workers have all batches of their frames at once");
  const pick = (...names: string[]): Record<string, unknown> => defined(Object.fromEntries(names.map((name) => [name, given[name]])));
  const options = {
    ...(has("stages") ? { stages: stages.map(stageOfConfig) } : stageOfConfig(stages[0]!)),
    ...pick(
      "part",
      "scratch",
      "accumulation",
      "latents",
      "statistics",
      "perceptualFrames",
      "passes",
      "checkpointing",
      "offload",
      "dtype",
      "seed",
    ),
    ...updatesOf(given),
    ...(has("logvar") || given["learnLogvar"] === true
      ? { logVariance: defined({ start: given["logvar"], learn: given["learnLogvar"] }) }
      : {}),
    ...(counts("disc") ? { discriminator: discriminatorOf(given) } : {}),
  } as TrainVaeOptions;
  return {
    ...(pick("model", "vae", "data", "out", "adapter", "variant", "dtype", "heldOut", "lpips") as unknown as Pick<
      VaeTrainConfig,
      "data" | "out"
    >),
    seed: (given["seed"] as number | undefined) ?? 0,
    steps: stages.reduce((sum, { steps }) => sum + steps, 0),
    stages,
    checkpointEvery: (given["checkpointEvery"] as number | undefined) ?? 100,
    heldOutEvery: (given["heldOutEvery"] as number | undefined) ?? 100,
    ...(workers ? { workers } : {}),
    part: (given["part"] as VaeTrainConfig["part"] | undefined) ?? "decoder",
    options,
  };
}

/** A number of processes, or adapters with commas between them. */
function workersOf(text: string): readonly WorkerPlace[] {
  const trimmed = text.trim();
  if (/[a-z]/i.test(trimmed)) return trimmed.split(",").map((adapter) => ({ adapter: adapter.trim() }));
  if (/^[1-9]\d{0,3}$/.test(trimmed)) return Array.from({ length: Number(trimmed) }, () => ({}));
  throw new CogwheelError(
    "train",
    `workers must be a whole number from 1, or adapters with commas between them, got "${text}"; correct it`,
  );
}

const discriminatorOf = (given: Readonly<Record<string, unknown>>): DiscriminatorTraining => ({
  config: parseDiscriminatorConfig(
    defined({
      n_layers: given["discLayers"],
      ndf: given["discWidth"],
      kernel_size: given["discKernel"],
      norm: given["discNorm"],
      causal: given["discCausal"],
    }),
    "the discriminator",
  ),
  ...(defined({ start: given["discStart"], lr: given["discLr"] }) as { start?: number; lr?: number }),
  ...((given["discPenalty"] ?? "none") === "none"
    ? {}
    : {
        penalty: {
          kind: given["discPenalty"] as GradientPenalty["kind"],
          weight: (given["discPenaltyWeight"] as number | undefined) ?? 10,
          ...(defined({ every: given["discPenaltyEvery"] }) as { every?: number }),
        },
      }),
});

function stageOfConfig({ steps, lr, batch, crop, l1, mse, perceptual, kl, disc }: VaeStageConfig): VaeStageOptions {
  return { steps, ...defined({ lr, batch, crop }), losses: defined({ l1, mse, perceptual, kl, disc }) };
}

/** A stage's sizes, completed by the VAE's own; throws where it cannot have them. */
export function vaeSizes({ name, resolution, frames = 17, fps = 8 }: VaeStageConfig, { config, ratio }: VideoVae): ClipSizes {
  const sizes = { frames, fps, resolution: resolutionOf(resolution ?? `${config.sample_width}x${config.sample_height}`, name) };
  const period = 2 * ratio.temporal;
  if (frames % period !== 1)
    throw new CogwheelError(
      "train",
      `${name && `${name}: `}a VAE learns from clips of ${period}·k + 1 frames, got ${frames}; choose such a number`,
    );
  checkSizes(sizes, { ...ratio, patchSize: 1 }, false);
  return sizes;
}
