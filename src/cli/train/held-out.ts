/** What clips that are not learned from lose as a run goes on: always of the last stage's size, at the same timesteps, with the same noise. */
import { prepareTogether } from "../../data/encode.ts";
import type { ClipFolder } from "../../data/folder.ts";
import type { PrepareTogetherOptions } from "../../data/prepared.ts";
import { clipSamples } from "../../data/samples.ts";
import { CogwheelError } from "../../base/errors.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { GivenSample } from "../../training/training-sample.ts";
import { type Training, VALIDATION_TIMESTEPS } from "../../training/train.ts";
import { HELD_OUT, type HeldOutLoss, type RunFolder } from "./run-folder.ts";

export interface HeldOutOptions extends Omit<PrepareTogetherOptions, "emptyText"> {
  readonly clips: ClipFolder;
  /** Of a run to compare with. */
  readonly beside: readonly HeldOutLoss[];
}

export class HeldOut {
  /** So far, in the order of the steps. */
  losses: HeldOutLoss[] = [];

  private constructor(
    private readonly samples: readonly GivenSample[],
    private readonly folder: RunFolder,
    /** Of the other run. */
    readonly beside: readonly HeldOutLoss[],
  ) {}

  /** Encodes the clips. @param learned digests of those that are learned from */
  static async prepare(
    model: CogVideoX,
    folder: RunFolder,
    { clips, beside, ...options }: HeldOutOptions,
    learned: ReadonlySet<string>,
  ): Promise<HeldOut> {
    const prepared = await prepareTogether(model, clips, options);
    const known = prepared.clips.find(({ content }) => learned.has(content));
    if (known)
      throw new CogwheelError(
        "train",
        `held-out clips must not be learned from, got ${known.row.file} of ${clips.label} in the data too; take it out of either`,
      );
    const samples: GivenSample[] = [];
    // Their order and draws are the same in every run.
    for await (const sample of clipSamples(model, prepared, { seed: 0 })(0)) samples.push(sample);
    return new HeldOut(samples, folder, beside);
  }

  /** Goes on with a run; what later steps of one that was killed have lost is measured again. */
  async goOn(step: number): Promise<void> {
    this.losses = await this.folder.openHeldOut(step);
  }

  /** Measures after a step, unless that has been done. @param flops of all steps so far */
  async measure(training: Training, step: number, flops: number, signal: AbortSignal): Promise<void> {
    if (this.losses.some((one) => one.step === step)) return;
    const timesteps = VALIDATION_TIMESTEPS;
    const losses = await training.validate(this.samples, { timesteps, signal });
    const line: HeldOutLoss = {
      step,
      flops,
      loss: losses.reduce((a, b) => a + b, 0) / losses.length,
      losses: Object.fromEntries(timesteps.map((t, i) => [t, losses[i]!])),
    };
    this.losses.push(line);
    await this.folder.append(HELD_OUT, line);
  }
}
