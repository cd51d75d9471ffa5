/** A run of training that is open on a device: its steps, what it is saved as, and what was learned. */
import { CogwheelError } from "../base/errors.ts";
import { TorchGenerator } from "../diffusion/torch-random.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { transformerWeights } from "../models/cogvideox/weights.ts";
import { batchesOf, type TrainingData } from "./batches.ts";
import { componentFiles, type ExportOptions, loraFile, parameterValues } from "./export.ts";
import { fullParameters } from "./full.ts";
import { fromScratch, zeroAtFirst } from "./scratch.ts";
import type { GivenSample } from "./training-sample.ts";
import { loraParameters, type TrainedLora } from "./lora.ts";
import { type MicroBatch, microOf } from "./micro-batch.ts";
import type { GradientRecipe } from "./micro-workers.ts";
import { optimizerOf } from "./optimizer.ts";
import { checkOptions, identityOf, samplingOptions, type Trainable, type TrainingStep, type TrainOptions } from "./options.ts";
import { makePack, packedTokens, packsOf } from "./packing/packs.ts";
import type { Trained } from "./parameters.ts";
import { rateShare } from "./schedule.ts";
import { heldOutBatch, makeBatch } from "./sample.ts";
import { StagedRun } from "./staged-run.ts";
import { type PlacedStage, stageSeed, stagesOf, stepsOf } from "./stages.ts";
import { Trainer, type TrainingModel } from "./trainer.ts";

/** What is trained, for those who compute its gradients. */
const recipeOf = (trained: Trained | TrainedLora, weights: Iterable<string>): GradientRecipe["trained"] =>
  "tensors" in trained
    ? { lora: { rank: trained.rank, alpha: trained.alpha, targets: trained.targets } }
    : { full: [...weights].filter((name) => trained.has([name])) };

function fullTraining(shapes: ReadonlyMap<string, readonly number[]>, full: NonNullable<TrainOptions["full"]>, scratch?: number): Trained {
  const trained = fullParameters(shapes.keys(), full === true ? undefined : full);
  return scratch === undefined ? trained : fromScratch(trained, { seed: scratch, weights: shapes, zero: zeroAtFirst });
}

export class TrainingRun implements Disposable {
  private constructor(
    private readonly gpu: Gpu,
    private readonly model: TrainingModel,
    private readonly data: TrainingData,
    private readonly options: TrainOptions,
    private readonly trained: Trained | TrainedLora,
    private readonly trainer: Trainer,
    private readonly staged: StagedRun,
  ) {}

  static async open(from: Trainable, data: TrainingData, options: TrainOptions): Promise<TrainingRun> {
    checkOptions(options);
    const { gpu } = from;
    const model = "generate" in from ? await from.transformer(options.signal) : from;
    const dtype = options.dtype ?? ("dtype" in from ? from.dtype : "f32");
    const shapes = transformerWeights(model.config);
    const { seed } = samplingOptions(options);
    const trained = options.full
      ? fullTraining(shapes, options.full, options.scratch ? seed : undefined)
      : loraParameters(shapes, options.lora ?? {}, new TorchGenerator(seed));
    const identity = identityOf(options, model, trained, dtype);
    const { optimizer, ema, accumulation, checkpointing = "attention", compile, workers, maxGradNorm = 1, resume, signal } = options;
    await workers?.open({ trained: recipeOf(trained, shapes.keys()), dtype, checkpointing });
    const trainer = await Trainer.create(
      gpu,
      model,
      {
        trained,
        dtype,
        ...(optimizer ? { optimizer } : {}),
        ...(Number.isFinite(maxGradNorm) ? { maxGradNorm } : {}),
        ...(ema ? { ema } : {}),
        ...(accumulation ? { accumulation } : {}),
        checkpointing,
        ...(workers ? { workers } : {}),
        ...(compile ? { compile } : {}),
      },
      signal,
    );
    const run = new TrainingRun(gpu, model, data, options, trained, trainer, new StagedRun(gpu, trainer, identity));
    try {
      if (resume) await run.staged.restore(resume);
      return run;
    } catch (error) {
      run[Symbol.dispose]();
      throw error;
    }
  }

  /** The steps that are left, each taken when it is asked for. */
  steps(): AsyncGenerator<TrainingStep, void, void> {
    return this.staged.steps(
      stagesOf(this.options),
      {
        data: (stage) => this.#micros(stage),
        take: (samples, stage, step, updates) => this.#taken(samples, stage, step, updates),
      },
      this.options.signal,
    );
  }

  /** @param samples of each rank the batches of its micro-steps */
  async #taken(
    samples: readonly (readonly (readonly GivenSample[])[])[],
    stage: PlacedStage,
    step: number,
    updates: number,
  ): Promise<Omit<TrainingStep, "seconds">> {
    const { trainer, model, options } = this;
    const { schedule = {}, rank = 0, ranks = 1, signal } = options;
    const { packing } = stage;
    const { config } = model;
    const mine = samples[rank]!;
    const sampling = samplingOptions(options);
    const count = samples.map((parts) => parts.reduce((n, part) => n + part.length, 0));
    const place = { seed: sampling.seed, step, rank, ranks, count };
    const levels = model.scheduler.num_train_timesteps;
    const batches: MicroBatch[] = [];
    let first = 0;
    for (const part of mine) {
      batches.push(
        packing
          ? await makePack(part, config, packing, sampling, place, first, levels)
          : await makeBatch(part, config, sampling, place, first, levels),
      );
      first += part.length;
    }
    const { lr: full } = optimizerOf(options.optimizer);
    const lr = (stage.lr ?? full) * rateShare(schedule, updates, stage.steps);
    // Between two steps only: one that was broken off may have changed the states, and would be counted as not taken.
    signal?.throwIfAborted();
    const report = await trainer.step(batches, lr);
    return {
      step: step + 1,
      steps: stepsOf(options),
      ...(options.stages ? { stage: stage.index + 1 } : {}),
      loss: report.loss,
      clips: batches.flatMap((batch, i) =>
        microOf(batch).timesteps.map((timestep, j) => ({
          timestep,
          loss: report.losses[i]![j]!,
        })),
      ),
      gradNorm: report.gradNorm,
      lr,
      skipped: !report.taken,
      lossScale: report.lossScale,
      flops: report.flops,
      ...(packing ? { fill: mine.flat().reduce((n, sample) => n + packedTokens(config, sample), 0) / (packing.budget * mine.length) } : {}),
    };
  }

  /** The batches of a step: of each rank its micro-steps, in the order of the data. */
  async *#micros({
    index,
    batch: clips,
    packing,
    data = this.data,
  }: PlacedStage): AsyncGenerator<(readonly GivenSample[])[][], void, void> {
    let step: (readonly GivenSample[])[][] = [[]];
    const { accumulation = 1, ranks = 1 } = this.options;
    const seed = stageSeed(samplingOptions(this.options).seed, index);
    const { config } = this.model;
    const stream = packing ? packsOf(data, config, { packing, seed }) : batchesOf(data, config, { clips, seed });
    for await (const batch of stream) {
      step.at(-1)!.push(batch);
      if (step.at(-1)!.length < accumulation) continue;
      if (step.length === ranks) {
        yield step;
        step = [[]];
      } else step.push([]);
    }
  }

  /** Steps that are done. */
  get step(): number {
    return this.staged.step;
  }

  save(signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    return this.staged.save(signal);
  }

  /**
   * What the model as it is loses on clips that are not learned from, at fixed timesteps and with fixed noise: the mean of each timestep
   * over the clips. Nothing of the run changes.
   */
  async validate(samples: readonly GivenSample[], timesteps: readonly number[], signal?: AbortSignal): Promise<number[]> {
    const { config, scheduler } = this.model;
    const means: number[] = [];
    for (const timestep of timesteps) {
      let sum = 0;
      for (const [i, sample] of samples.entries())
        sum += await this.trainer.lossOf(
          await heldOutBatch(sample, config, { timestep, index: i, levels: scheduler.num_train_timesteps }),
          signal,
        );
      means.push(sum / samples.length);
    }
    return means;
  }

  async adapter(options: ExportOptions): Promise<Uint8Array<ArrayBuffer>> {
    if (!("tensors" in this.trained))
      throw new CogwheelError("training", "an adapter comes of a run that trains one, got a run of the model; ask for transformer()");
    return loraFile(this.trained, await this.#values(options));
  }

  async transformer(options: ExportOptions): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    if (this.trained.kind !== "full")
      throw new CogwheelError("training", "a model comes of a run that trains it, got a run of an adapter; ask for adapter()");
    const { config, weights } = this.model;
    const layout = { className: "CogVideoXTransformer3DModel", config, weights: transformerWeights(config) };
    return await componentFiles(this.gpu, layout, weights, await this.#values(options), options.signal);
  }

  #values(options: ExportOptions): Promise<Map<string, Float32Array<ArrayBuffer>>> {
    if (options.average && !this.options.ema)
      throw new CogwheelError("training", "an average comes of a run that keeps one, got a run without; begin it with ema");
    return parameterValues(this.gpu, this.trainer.states, options);
  }

  [Symbol.dispose](): void {
    this.trainer[Symbol.dispose]();
  }
}
