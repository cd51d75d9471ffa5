/** A run of training that is open on a device: its steps, what it is saved as, and what was learned. */
import { CogwheelError } from "../base/errors.ts";
import { TorchGenerator } from "../diffusion/torch-random.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { transformerWeights } from "../models/cogvideox/weights.ts";
import { batchesOf, type TrainingData } from "./batches.ts";
import { restoreRun, type RunIdentity, saveRun } from "./checkpoint.ts";
import { componentFiles, type ExportOptions, loraFile, parameterValues } from "./export.ts";
import { fullParameters } from "./full.ts";
import type { GivenSample } from "./training-sample.ts";
import { loraParameters, type TrainedLora } from "./lora.ts";
import { type MicroBatch, microOf } from "./micro-batch.ts";
import { optimizerOf } from "./optimizer.ts";
import { checkOptions, identityOf, samplingOptions, type Trainable, type TrainingStep, type TrainOptions } from "./options.ts";
import { makePack, packedTokens, packsOf } from "./packing/packs.ts";
import type { Trained } from "./parameters.ts";
import { rateShare } from "./schedule.ts";
import { heldOutBatch, makeBatch } from "./sample.ts";
import { type PlacedStage, stageSeed, stagesOf, stepsOf } from "./stages.ts";
import { Trainer, type TrainingModel } from "./trainer.ts";

export class TrainingRun implements Disposable {
  #step = 0;
  /** Updates that were made before the stage that goes on: a schedule runs in each stage by itself. */
  #stageUpdates = 0;
  #running = false;

  private constructor(
    private readonly gpu: Gpu,
    private readonly model: TrainingModel,
    private readonly data: TrainingData,
    private readonly options: TrainOptions,
    private readonly trained: Trained | TrainedLora,
    private readonly trainer: Trainer,
    private readonly identity: RunIdentity,
  ) {}

  static async open(from: Trainable, data: TrainingData, options: TrainOptions): Promise<TrainingRun> {
    checkOptions(options);
    const { gpu } = from;
    const model = "generate" in from ? await from.transformer(options.signal) : from;
    const dtype = options.dtype ?? ("dtype" in from ? from.dtype : "f32");
    const shapes = transformerWeights(model.config);
    const trained = options.full
      ? fullParameters(shapes.keys(), options.full === true ? undefined : options.full)
      : loraParameters(shapes, options.lora ?? {}, new TorchGenerator(samplingOptions(options).seed));
    const identity = identityOf(options, model, trained, dtype);
    const { optimizer, ema, accumulation, checkpointing, compile, maxGradNorm = 1, resume, signal } = options;
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
        ...(checkpointing ? { checkpointing } : {}),
        ...(compile ? { compile } : {}),
      },
      signal,
    );
    const run = new TrainingRun(gpu, model, data, options, trained, trainer, identity);
    try {
      if (resume) {
        const { step, stageUpdates = 0, ...progress } = await restoreRun(gpu, resume, trainer.states, identity);
        trainer.progress = progress;
        run.#step = step;
        run.#stageUpdates = stageUpdates;
      }
      return run;
    } catch (error) {
      run[Symbol.dispose]();
      throw error;
    }
  }

  /** The steps that are left, each taken when it is asked for. */
  async *steps(): AsyncGenerator<TrainingStep, void, void> {
    if (this.#running) throw new CogwheelError("training", "a run is iterated over once at a time, got a second loop; end the first");
    this.#running = true;
    try {
      for (const stage of stagesOf(this.options)) {
        if (this.#step >= stage.before + stage.steps) continue;
        if (this.#step === stage.before) {
          this.#stageUpdates = this.trainer.progress.updates;
          // Graphs of the stage before are of other sizes.
          if (stage.index > 0) this.trainer.release();
        }
        if (!(yield* this.#stage(stage))) return;
      }
    } finally {
      this.#running = false;
    }
  }

  /** The steps of a stage that are left; false where its data ended before. */
  async *#stage(stage: PlacedStage): AsyncGenerator<TrainingStep, boolean, void> {
    const { signal } = this.options;
    const stream = this.#micros(stage);
    // What was learned from before a break.
    for (let i = stage.before; i < this.#step; i++) await stream.next();
    while (this.#step < stage.before + stage.steps) {
      signal?.throwIfAborted();
      const begun = performance.now();
      const { value: samples, done } = await stream.next();
      if (done) return false;
      yield { ...(await this.#taken(samples, stage)), seconds: (performance.now() - begun) / 1000 };
    }
    return true;
  }

  /** @param samples of each rank the batches of its micro-steps */
  async #taken(samples: readonly (readonly (readonly GivenSample[])[])[], stage: PlacedStage): Promise<Omit<TrainingStep, "seconds">> {
    const { trainer, model, options } = this;
    const { schedule = {}, rank = 0, ranks = 1, signal } = options;
    const { packing } = stage;
    const { config } = model;
    const mine = samples[rank]!;
    const sampling = samplingOptions(options);
    const count = samples.map((parts) => parts.reduce((n, part) => n + part.length, 0));
    const place = { seed: sampling.seed, step: this.#step, rank, ranks, count };
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
    const lr = (stage.lr ?? full) * rateShare(schedule, trainer.progress.updates - this.#stageUpdates, stage.steps);
    // Between two steps only: one that was broken off may have changed the states, and would be counted as not taken.
    signal?.throwIfAborted();
    const report = await trainer.step(batches, lr);
    this.#step++;
    return {
      step: this.#step,
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
    return this.#step;
  }

  async save(signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const progress = { step: this.#step, stageUpdates: this.#stageUpdates || undefined, ...this.trainer.progress };
    return await saveRun(this.trainer.states, progress, this.identity, signal);
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
