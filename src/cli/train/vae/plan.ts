/** `cogwheel train vae --plan`: what every stage will take, from configs alone. */
import { bytesText } from "../../../base/units.ts";
import { measureVae } from "../../../pipelines/vae-requirements.ts";
import type { VideoVae } from "../../../pipelines/video-vae.ts";
import { compile } from "../../../plan/compile.ts";
import { Clock } from "../../../plan/seconds.ts";
import { Stepper } from "../../../training/stepper.ts";
import { asksDiscriminator } from "../../../training/vae/least.ts";
import { discriminatorMicro, type LpipsJudge } from "../../../training/vae/judges.ts";
import { type TrainVaeOptions, vaeStages } from "../../../training/vae/options.ts";
import type { Passes } from "../../../training/vae/passes.ts";
import { distanceGraph, vaeMicro } from "../../../training/vae/record.ts";
import { vaeTrainingNeeds, type VaeTrainingNeeds } from "../../../training/vae/needs.ts";
import type { VaeWeights } from "../../../training/vae/losses.ts";
import type { PixelShape } from "../../../training/vae/sample.ts";
import { type WorkerNeeds, workerNeeds } from "../../../training/vae/workers/needs.ts";
import { vaeRecipe, vaeSteppers } from "../../../training/vae/trained.ts";
import type { ProbedModel } from "../../../tuning/probe.ts";
import { kernelRatesUnlessOff } from "../../../tuning/rates.ts";
import { print, printJson } from "../../terminal/output.ts";
import type { Progress } from "../../terminal/progress.ts";
import { printNeeds } from "../plan.ts";
import type { VaeTrainConfig } from "./config.ts";
import { largestShape, typesOf } from "./trial.ts";

interface VaeStagePlan extends Omit<VaeTrainingNeeds, "plans"> {
  readonly steps: number;
  /** Of the frozen encoder with its activations, which are there beside a step; 0 where it is trained. */
  readonly encoder: number;
  /** Of LPIPS where only held-out clips are measured by it. */
  readonly measures: number;
  /** The other way for a clip to go; left out where it cannot, or is too long for one graph. */
  readonly other?: Pick<VaeTrainingNeeds, "passes" | "total" | "flops">;
  /** Of the worker with the largest piece of a clip. */
  readonly worker?: WorkerNeeds;
  /** Of a step; null where nothing may be measured, and over workers. */
  readonly seconds: number | null;
}

/** More frames in one graph are not planned: that alone would take minutes. */
const MOST_FRAMES = 33;

/** What the largest clips of every stage take. @param lpips the network, where one is asked */
export async function printVaePlan(
  { options, stages, heldOut, workers }: VaeTrainConfig,
  vae: VideoVae,
  { lpips, json, progress, signal }: { lpips: LpipsJudge | undefined; json: boolean; progress: Progress; signal: AbortSignal },
): Promise<void> {
  const { gpu, config, dtype } = vae;
  const asked = { ...options, ...(lpips ? { lpips } : {}) };
  const weights = typesOf(vae);
  const split = workers ? { ...asked, workers: workers.length } : asked;
  const planned = vaeStages(asked).map((stage) => {
    const shape = largestShape(stages[stage.index]!, vae, stage.batch);
    const losses = { ...stage.losses, disc: asksDiscriminator(asked, stage) ? stage.losses.disc : 0 };
    const needsOf = (passes: Passes | undefined): VaeTrainingNeeds =>
      vaeTrainingNeeds({ config, weights, caps: gpu.caps }, passes ? { ...asked, passes } : split, shape, losses);
    const needs = needsOf(undefined);
    const encoder = (options.part ?? "decoder") === "decoder" ? encoderBytes(vae, shape) : 0;
    const measures = heldOut !== undefined && lpips && stage.losses.perceptual === 0 ? distanceBytes(vae, asked, shape) : 0;
    const beside = encoder + measures;
    const other = ({ passes, total, flops }: VaeTrainingNeeds) => ({ passes, total: total + beside, flops });
    return {
      steps: stage.steps,
      ...needs,
      encoder,
      measures,
      total: needs.total + beside,
      peak: needs.peak + beside,
      ...(workers ? { worker: largestPiece(vae, asked, shape, workers.length, losses) } : {}),
      ...(workers || asked.statistics === "clip" || shape.frames > MOST_FRAMES
        ? {}
        : { other: other(needsOf(needs.passes === "whole" ? "batches" : "whole")) }),
    };
  });
  const rates = await kernelRatesUnlessOff(probedTraining(vae, asked), {
    signal,
    onProgress: (done, what) => progress.report("probe", done, what),
  });
  const clock = rates && new Clock(rates);
  const told = planned.map(
    ({ plans, ...of }): VaeStagePlan => ({
      ...of,
      seconds: clock && !of.worker ? plans.reduce((sum, { plan, times }) => sum + times * clock.seconds(plan), 0) : null,
    }),
  );
  progress[Symbol.dispose]();
  if (json) {
    printJson({ adapter: gpu.name, dtype, stages: told });
    return;
  }
  print(`${gpu.name}, ${dtype}`);
  const way = { whole: "in one graph", batches: "by batches of frames", workers: `over ${workers?.length} workers` };
  for (const [i, { shape, encoder, measures, caches, host, other, worker, ...needs }] of told.entries()) {
    const name = stages[i]!.name && `${stages[i]!.name}: `;
    print(`${name}${shape.clips} × ${shape.frames} frames of ${shape.width} × ${shape.height}, ${way[needs.passes]}`);
    printNeeds(needs, [
      ...(caches ? [["kept between batches of frames", bytesText(caches, 1)] as const] : []),
      ...(encoder ? [["the encoder, for clips that are read", bytesText(encoder, 1)] as const] : []),
      ...(measures ? [["LPIPS of held-out clips", bytesText(measures, 1)] as const] : []),
    ]);
    if (worker)
      print(
        `each worker, of ${worker.latents} latent frames at the most: ${bytesText(worker.total, 1)} ` +
          `(weights ${bytesText(worker.weights, 1)}, activations ${bytesText(worker.activations, 1)}), ` +
          `${(worker.flops / 1e12).toPrecision(3)} TFLOP a clip`,
      );
    if (host) print(`${bytesText(host, 1)} of the host's memory beside, for what lies between batches of frames and between updates`);
    if (other)
      print(`${way[other.passes]}: ${bytesText(other.total, 1)} on the adapter, ${(other.flops / 1e12).toPrecision(3)} TFLOP a step`);
  }
}

function largestPiece(vae: VideoVae, options: TrainVaeOptions, shape: PixelShape, workers: number, losses: VaeWeights): WorkerNeeds {
  const { config, gpu, dtype } = vae;
  const recipe = vaeRecipe({ config, weights: typesOf(vae) }, options);
  const network = recipe.judges.lpips?.network;
  const clip = { ...shape, workers, lpips: losses.perceptual > 0, judged: losses.disc > 0 };
  const piece = { config, dtype, part: recipe.part, ...(network ? { lpips: network } : {}) };
  return workerNeeds(piece, { weights: recipe.weights, caps: gpu.caps }, clip);
}

/** The encoder reads one clip after another, and stays for those that come again. */
function encoderBytes({ config, gpu, dtype }: VideoVae, { frames, height, width }: PixelShape): number {
  const shape = { part: "encode", batch: 1, frames, height, width, format: "sample", dtype } as const;
  return measureVae(config, gpu.caps, shape, "none").total;
}

/** Weights that only the measures read; their activations are fewer than a step's. */
function distanceBytes(vae: VideoVae, options: TrainVaeOptions, shape: PixelShape): number {
  const recipe = vaeRecipe({ config: vae.config, weights: typesOf(vae) }, options);
  const plan = compile(distanceGraph(recipe, { ...shape, clips: 1 }), vae.gpu.caps);
  return [...plan.weights.values()].reduce((sum, { bytes }) => sum + bytes, 0);
}

/** A run's own steps on small clips: pictures, then frames of which each batch follows from the one before. */
function probedTraining(vae: VideoVae, options: TrainVaeOptions): ProbedModel {
  const { config, gpu } = vae;
  const recipe = vaeRecipe({ config, weights: typesOf(vae) }, options);
  const { discriminator, lpips } = recipe.judges;
  const penalised = discriminator?.penalty !== undefined;
  const steppers = vaeSteppers(options);
  const kinds = [options.part, vae.dtype, options.checkpointing, steppers.vae.optimizer.name];
  const sizes = [
    { frames: 1, side: 64 },
    { frames: 9, side: 64 },
    { frames: 9, side: 128 },
  ];
  return {
    gpu,
    probeKey: `train vae ${JSON.stringify([config, kinds, lpips?.network, discriminator?.config, penalised])}`,
    probed: async () => ({
      sizes: sizes.length,
      graphs(size) {
        const { frames, side } = sizes[size]!;
        const shape = { clips: 1, frames, height: side, width: side };
        const asked = { lpips: lpips !== undefined, discriminator: discriminator !== undefined };
        return [
          ...Stepper.graphsOf(vaeMicro(recipe, shape, asked), steppers.vae),
          ...(discriminator
            ? Stepper.graphsOf(discriminatorMicro(discriminator, shape, { dtype: recipe.dtype, penalised }), steppers.discriminator)
            : []),
        ];
      },
    }),
  };
}
