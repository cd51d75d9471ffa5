/** A run of a VAE's training that is open on a device: its steps, what it is saved as, and what was learned. */
import { CogwheelError } from "../../base/errors.ts";
import { vaeWeights } from "../../models/vae/batches.ts";
import { type DataOf, epochsOf, groupsOf } from "../batches.ts";
import { stateOnDevice } from "../checkpoint.ts";
import { componentFiles, type ExportOptions, parameterValues } from "../export.ts";
import { rateShare } from "../schedule.ts";
import { StagedRun } from "../staged-run.ts";
import { stageSeed } from "../stages.ts";
import {
  checkVaeOptions,
  type PlacedVaeStage,
  type TrainableVae,
  type TrainVaeOptions,
  vaeIdentity,
  vaeStages,
  type VaeTrainingStep,
} from "./options.ts";
import { checkCrop, cropped, croppedSize, refusedCrop } from "./crop.ts";
import { leastOf, tooSmall } from "./least.ts";
import { DISCRIMINATOR_PREFIX } from "./losses.ts";
import { checkPixels, type GivenPixels, loadedPixels, type PixelSample } from "./sample.ts";
import { type VaeBatch, VaeTrainer } from "./trainer.ts";

// Comes with the run, in one chunk: a page that opens LPIPS trains a VAE.
export { openLpips } from "../../models/lpips/open.ts";

export class VaeTrainingRun implements Disposable {
  private constructor(
    private readonly vae: TrainableVae,
    private readonly data: DataOf<GivenPixels>,
    private readonly options: TrainVaeOptions,
    private readonly trainer: VaeTrainer,
    private readonly staged: StagedRun,
  ) {}

  static async open(vae: TrainableVae, data: DataOf<GivenPixels>, options: TrainVaeOptions): Promise<VaeTrainingRun> {
    checkVaeOptions(options);
    for (const { crop } of vaeStages(options)) checkCrop(crop, vae.config);
    const identity = vaeIdentity(options, vae, await options.lpips?.digests?.(options.signal));
    const trainer = await VaeTrainer.create(vae, options);
    const run = new VaeTrainingRun(vae, data, options, trainer, new StagedRun(trainer, stateOnDevice(trainer.states), identity));
    try {
      if (options.resume) await run.staged.restore(options.resume);
      return run;
    } catch (error) {
      run[Symbol.dispose]();
      throw error;
    }
  }

  /** Steps that are done. */
  get step(): number {
    return this.staged.step;
  }

  /** The steps that are left, each taken when it is asked for. */
  steps(): AsyncGenerator<VaeTrainingStep, void, void> {
    const stages = vaeStages(this.options);
    const steps = stages.reduce((sum, stage) => sum + stage.steps, 0);
    return this.staged.steps(
      stages,
      {
        data: (stage) => this.#micros(stage),
        take: async (micros, stage, step, updates) => ({ ...(await this.#taken(micros, stage, step, updates)), steps }),
      },
      this.options.signal,
    );
  }

  /** The batches of a step: its micro-steps, in the order of the data. */
  #micros(stage: PlacedVaeStage): AsyncGenerator<readonly (readonly GivenPixels[])[], void, void> {
    const { index, batch, crop, data = this.data } = stage;
    const { accumulation = 1, seed = 0 } = this.options;
    const least = leastOf(this.options, stage);
    const samples = epochsOf(data, stageSeed(seed, index), (sample, name) => {
      const small = refusedCrop(sample, crop) ?? tooSmall(least, croppedSize(sample, crop));
      if (small) throw new CogwheelError("training", `${name}: ${small}`);
      return this.#checkedGiven(sample, name);
    });
    const clips = groupsOf(samples, batch, (sample) => Object.values(croppedSize(sample, crop)).join(" × "));
    return groupsOf(clips, accumulation, () => "");
  }

  async #taken(
    micros: readonly (readonly GivenPixels[])[],
    stage: PlacedVaeStage,
    step: number,
    updates: number,
  ): Promise<Omit<VaeTrainingStep, "steps" | "seconds">> {
    const { accumulation = 1, schedule = {}, seed = 0, signal, stages, discriminator } = this.options;
    const share = rateShare(schedule, updates, stage.steps);
    const lr = stage.lr * share;
    const rates = { lr, discriminator: (discriminator?.lr ?? stage.lr) * share };
    const batches: VaeBatch[] = [];
    for (const [i, given] of micros.entries()) {
      const samples: PixelSample[] = [];
      const first = i * stage.batch;
      for (const [at, sample] of given.entries())
        samples.push(cropped(await loadedPixels(sample), stage.crop, this.vae.config, { seed, step, index: first + at }));
      batches.push({ samples, step, first });
    }
    // Between two steps only: one that was broken off may have changed the states, and would be counted as not taken.
    signal?.throwIfAborted();
    const {
      losses: { loss, ...losses },
      taken,
      ...report
    } = await this.trainer.step(batches, rates, stage.losses);
    return {
      step: step + 1,
      ...(stages ? { stage: stage.index + 1 } : {}),
      loss: loss!,
      losses,
      clips: stage.batch * accumulation,
      lr,
      skipped: !taken,
      ...report,
    };
  }

  /** The sample, which throws where it is loaded and is not what its sizes say. */
  #checkedGiven(sample: GivenPixels, name: string): GivenPixels {
    if (!("load" in sample)) return this.#checked(sample, name);
    const { frames, height, width } = sample;
    const load = async (): Promise<PixelSample> => {
      const clip = this.#checked(await sample.load(), name);
      if (clip.frames !== frames || clip.height !== height || clip.width !== width)
        throw new CogwheelError(
          "training",
          `${name}: a clip must be of the sizes that were told, ${frames} frames of ${width} × ${height}, ` +
            `got ${clip.frames} of ${clip.width} × ${clip.height}; tell those of what is loaded`,
        );
      return clip;
    };
    return { frames, height, width, load };
  }

  #checked(sample: PixelSample, name: string): PixelSample {
    checkPixels(sample, this.vae.config, name);
    if ((this.options.part ?? "decoder") === "decoder" && !sample.moments)
      throw new CogwheelError("training", `${name}: a decoder is trained on what the encoder gives, got no moments; encode the clip`);
    return sample;
  }

  save(signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    return this.staged.save(signal);
  }

  reconstruct(sample: PixelSample, signal?: AbortSignal): Promise<Float32Array> {
    return this.trainer.reconstruct(this.#checked(sample, "a clip"), signal);
  }

  distance(sample: PixelSample, made: Float32Array, signal?: AbortSignal): Promise<number | undefined> {
    return this.trainer.distance(sample, made, signal);
  }

  async files(options: ExportOptions): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    const { gpu, config, weights } = this.vae;
    const values = await parameterValues(gpu, this.trainer.states, {
      average: this.options.ema !== undefined,
      only: (name) => !name.startsWith(DISCRIMINATOR_PREFIX),
      ...options,
    });
    const layout = {
      className: "AutoencoderKLCogVideoX",
      config: {
        ...config,
        down_block_types: config.block_out_channels.map(() => "CogVideoXDownBlock3D"),
        up_block_types: config.block_out_channels.map(() => "CogVideoXUpBlock3D"),
      },
      weights: vaeWeights(config),
    };
    return await componentFiles(gpu, layout, weights, values, options.signal);
  }

  [Symbol.dispose](): void {
    this.trainer[Symbol.dispose]();
  }
}
