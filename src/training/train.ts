/** `train`: a transformer learns from clips, step by step, as an async iterable. */
import { CogwheelError } from "../base/errors.ts";
import { TorchGenerator } from "../diffusion/torch-random.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { assertKnown } from "../graph/known-name.ts";
import { transformerWeights } from "../models/cogvideox/weights.ts";
import type { CompileOptions } from "../plan/compile.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { Batch } from "./batch.ts";
import { batchesOf, type TrainingData } from "./batches.ts";
import { restoreRun, type RunIdentity, saveRun } from "./checkpoint.ts";
import { type ExportOptions, loraFile, parameterValues, transformerFiles } from "./export.ts";
import { fullParameters } from "./full.ts";
import { loraParameters, type LoraOptions, type TrainedLora } from "./lora.ts";
import { optimizerOf, type OptimizerOptions } from "./optimizer.ts";
import type { Trained } from "./parameters.ts";
import { type Checkpointing, CHECKPOINTING } from "./record.ts";
import { checkSchedule, rateShare, type Schedule } from "./schedule.ts";
import { type SamplingOptions, makeBatch, type TrainingSample } from "./sample.ts";
import { TIMESTEP_SAMPLINGS } from "./timesteps.ts";
import { Trainer, type TrainingModel } from "./trainer.ts";

export interface TrainOptions extends Partial<SamplingOptions> {
  /** Steps of the run. */
  readonly steps: number;
  /** An adapter is trained, and this is how; the default where `full` is not given. */
  readonly lora?: LoraOptions;
  /** The model's own weights are trained: all, or those whose state-dict names this takes. */
  readonly full?: true | ((name: string) => boolean);
  /** Default: AdamW. */
  readonly optimizer?: OptimizerOptions;
  /** Default: constant, without a warm-up. */
  readonly schedule?: Schedule;
  /** Clips of a micro-step. Default 1. */
  readonly batch?: number;
  /** Micro-steps of a step, whose gradients are added up. Default 1. */
  readonly accumulation?: number;
  /** Gradients above this norm are scaled down to it; Infinity for no clipping. Default 1. */
  readonly maxGradNorm?: number;
  /** Keeps a moving average of what is trained; its decay rises to this one. Default: none is kept. */
  readonly ema?: { readonly decay: number };
  /** Storage type of weights that are not trained and of activations. Default: the model's. */
  readonly dtype?: "f32" | "f16";
  /** What is kept of a block's forward pass. Default `attention`. */
  readonly checkpointing?: Checkpointing;
  /** This device's number among those that train together, and how many there are. Default 0 of 1. */
  readonly rank?: number;
  readonly ranks?: number;
  /** How frozen weights lie on the device. */
  readonly compile?: CompileOptions;
  /** A checkpoint of this run, as `save` gave it: it goes on from there, to the same bytes as if it had never stopped. */
  readonly resume?: Uint8Array;
  /** What else a checkpoint must belong to, such as the model's and the data's versions: compared when a run goes on. */
  readonly identity?: RunIdentity;
  readonly signal?: AbortSignal;
}

export interface TrainingStep {
  /** From 1. */
  readonly step: number;
  readonly steps: number;
  /** The mean over the step's clips. */
  readonly loss: number;
  /** Timestep and loss of each clip. */
  readonly clips: readonly { readonly timestep: number; readonly loss: number }[];
  /** Of all gradients, before clipping. */
  readonly gradNorm: number;
  readonly lr: number;
  /** Gradients were not finite: nothing was changed. */
  readonly skipped: boolean;
  readonly lossScale: number;
  /** That the step took. */
  readonly seconds: number;
}

/**
 * Trains a model that is open, or the parts of one. The steps are taken as they are asked for: `for await (const step of train(…))`.
 * Between two of them `save` gives the run, and `adapter` or `transformer` what was learned. Options are judged at the first step.
 */
export function train(model: CogVideoX | (TrainingModel & { readonly gpu: Gpu }), data: TrainingData, options: TrainOptions): Training {
  return new Training(model, data, options);
}

interface Run {
  readonly gpu: Gpu;
  readonly model: TrainingModel;
  readonly trained: Trained | TrainedLora;
  readonly trainer: Trainer;
  readonly identity: RunIdentity;
}

export class Training implements AsyncIterable<TrainingStep>, AsyncDisposable {
  #run: Promise<Run> | undefined;
  #step = 0;
  #running = false;
  #ended = false;

  constructor(
    private readonly model: CogVideoX | (TrainingModel & { readonly gpu: Gpu }),
    private readonly data: TrainingData,
    private readonly options: TrainOptions,
  ) {}

  /** Steps that are done. */
  get step(): number {
    return this.#step;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TrainingStep, void, void> {
    if (this.#running) throw new CogwheelError("training", "a run is iterated over once at a time, got a second loop; wait for the first");
    this.#running = true;
    try {
      const { trainer, model } = await this.#opened();
      const { steps, batch: clips = 1, accumulation = 1, schedule = {}, rank = 0, ranks = 1, signal } = this.options;
      const draws = samplingOptions(this.options);
      const { lr: full } = optimizerOf(this.options.optimizer);
      const stream = this.#micros(model, clips, accumulation, ranks);
      // What was learned from before a break.
      for (let i = 0; i < this.#step; i++) await stream.next();
      while (this.#step < steps) {
        signal?.throwIfAborted();
        const begun = performance.now();
        const { value: samples, done } = await stream.next();
        if (done) return;
        const place = { seed: draws.seed, step: this.#step, rank, ranks, count: clips * accumulation };
        const batches: Batch[] = [];
        for (const [i, part] of samples[rank]!.entries())
          batches.push(await makeBatch(part, model.config, draws, place, i * clips, model.scheduler.num_train_timesteps));
        const lr = full * rateShare(schedule, trainer.progress.updates, steps);
        const report = await trainer.step(batches, lr, signal);
        this.#step++;
        yield {
          step: this.#step,
          steps,
          loss: report.loss,
          clips: batches.flatMap(({ timesteps }, i) => timesteps.map((timestep, j) => ({ timestep, loss: report.losses[i]![j]! }))),
          gradNorm: report.gradNorm,
          lr,
          skipped: !report.taken,
          lossScale: report.lossScale,
          seconds: (performance.now() - begun) / 1000,
        };
      }
    } finally {
      this.#running = false;
    }
  }

  /** The batches of a step: of each rank its micro-steps, in the order of the data. */
  async *#micros(
    { config }: TrainingModel,
    clips: number,
    accumulation: number,
    ranks: number,
  ): AsyncGenerator<(readonly TrainingSample[])[][], void, void> {
    let step: (readonly TrainingSample[])[][] = [[]];
    for await (const batch of batchesOf(this.data, config, { clips, seed: samplingOptions(this.options).seed })) {
      step.at(-1)!.push(batch);
      if (step.at(-1)!.length < accumulation) continue;
      if (step.length === ranks) {
        yield step;
        step = [[]];
      } else step.push([]);
    }
  }

  #opened(): Promise<Run> {
    if (this.#ended) throw new CogwheelError("training", "a run cannot be used after dispose; begin another, with resume to go on");
    return (this.#run ??= this.#open().catch((error: unknown) => {
      this.#run = undefined;
      throw error;
    }));
  }

  async #open(): Promise<Run> {
    const { options } = this;
    checkOptions(options);
    const { gpu } = this.model;
    const model = "generate" in this.model ? await this.model.transformer(options.signal) : this.model;
    const dtype = options.dtype ?? ("dtype" in this.model ? this.model.dtype : "f32");
    const shapes = transformerWeights(model.config);
    const { seed } = samplingOptions(options);
    const trained = options.full
      ? fullParameters(shapes.keys(), options.full === true ? undefined : options.full)
      : loraParameters(shapes, options.lora ?? {}, new TorchGenerator(seed));
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
    try {
      if (resume) {
        const { step, ...progress } = await restoreRun(gpu, resume, trainer.states, identity);
        trainer.progress = progress;
        this.#step = step;
      }
      return { gpu, model, trained, trainer, identity };
    } catch (error) {
      trainer[Symbol.dispose]();
      throw error;
    }
  }

  /** The run as it is between two steps: for `resume`. Whoever writes it to a disk should let it take the earlier one's place whole. */
  async save(signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const { trainer, identity } = await this.#opened();
    return await saveRun(trainer.states, { step: this.#step, ...trainer.progress }, identity, signal);
  }

  /** The adapter so far, as diffusers' `pytorch_lora_weights.safetensors`. */
  async adapter(options: ExportOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    const { gpu, trainer, trained } = await this.#opened();
    if (!("tensors" in trained))
      throw new CogwheelError("training", "an adapter comes of a run that trains one, got a run of the full model; ask for transformer()");
    return loraFile(trained, await parameterValues(gpu, trainer.states, averaged(options, this.options)));
  }

  /** The trained model so far: the files of its transformer's folder, by name. */
  async transformer(options: ExportOptions = {}): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    const { gpu, trainer, trained, model } = await this.#opened();
    if (trained.kind !== "full")
      throw new CogwheelError("training", "a model comes of a run that trains it, got a run of an adapter; ask for adapter()");
    const values = await parameterValues(gpu, trainer.states, averaged(options, this.options));
    return await transformerFiles(gpu, model.config, model.weights, values, options.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    const run = await this.#run?.catch(() => undefined);
    run?.trainer[Symbol.dispose]();
  }
}

function averaged(options: ExportOptions, { ema }: TrainOptions): ExportOptions {
  if (options.average && !ema)
    throw new CogwheelError("training", "an average comes of a run that keeps one, got a run without; begin it with ema");
  return options;
}

/** One text in ten and one image in twenty are left out, as in CogVideoX's own training. */
const samplingOptions = (o: TrainOptions): SamplingOptions => ({
  seed: o.seed ?? 0,
  timesteps: o.timesteps ?? "uniform",
  textDropout: o.textDropout ?? 0.1,
  nullText: o.nullText ?? "zeros",
  conditionDropout: o.conditionDropout ?? 0.05,
});

function checkOptions(o: TrainOptions): void {
  const count = (name: string, value: number | undefined, least: number): void => {
    if (value !== undefined && (!Number.isInteger(value) || value < least))
      throw new CogwheelError("training", `${name} must be a whole number from ${least}, got ${value}; correct it`);
  };
  const share = (name: string, value: number | undefined): void => {
    if (value !== undefined && !(value >= 0 && value <= 1))
      throw new CogwheelError("training", `${name} must be a share from 0 to 1, got ${value}; correct it`);
  };
  if (o.lora && o.full) throw new CogwheelError("training", "a run trains an adapter or the model, got lora and full; give one of them");
  count("steps", o.steps ?? Number.NaN, 1);
  count("batch", o.batch, 1);
  count("accumulation", o.accumulation, 1);
  count("ranks", o.ranks, 1);
  count("rank", o.rank, 0);
  if ((o.rank ?? 0) >= (o.ranks ?? 1)) throw new CogwheelError("training", `rank must be below ranks, got ${o.rank} of ${o.ranks ?? 1}`);
  if (o.seed !== undefined && !Number.isSafeInteger(o.seed))
    throw new CogwheelError("training", `the seed must be a whole number, got ${o.seed}; choose one below 2^53`);
  share("textDropout", o.textDropout);
  share("conditionDropout", o.conditionDropout);
  assertKnown("training", "timesteps", o.timesteps, TIMESTEP_SAMPLINGS);
  assertKnown("training", "checkpointing", o.checkpointing, CHECKPOINTING);
  assertKnown("training", "dtype", o.dtype, ["f32", "f16"]);
  checkSchedule(o.schedule ?? {});
  optimizerOf(o.optimizer);
}

/** What another value of would make another run of it. */
function identityOf(o: TrainOptions, { config, scheduler }: TrainingModel, trained: Trained | TrainedLora, dtype: string): RunIdentity {
  const draws = samplingOptions(o);
  return {
    model: config,
    scheduler,
    trained: "tensors" in trained ? { lora: { rank: trained.rank, alpha: trained.alpha, targets: trained.targets } } : "full",
    optimizer: optimizerOf(o.optimizer),
    schedule: o.schedule ?? {},
    steps: o.steps,
    batch: o.batch ?? 1,
    accumulation: o.accumulation ?? 1,
    maxGradNorm: String(o.maxGradNorm ?? 1),
    ema: o.ema ?? null,
    dtype,
    rank: o.rank ?? 0,
    ranks: o.ranks ?? 1,
    ...draws,
    nullText: typeof draws.nullText === "string" ? draws.nullText : "given",
    ...o.identity,
  };
}
