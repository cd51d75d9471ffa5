/** The steps of a VAE's run: taken, logged, kept in checkpoints and shown in the report, until the last one or Ctrl-C. */
import type { PixelClips } from "../../../data/pixels.ts";
import type { VideoVae } from "../../../pipelines/video-vae.ts";
import { type PlacedVaeStage, type TrainVaeOptions, vaeStages, type VaeTrainingStep } from "../../../training/vae/options.ts";
import type { VaeTraining } from "../../../training/vae/train-vae.ts";
import { isStop } from "../../terminal/interrupt.ts";
import type { Progress } from "../../terminal/progress.ts";
import { LOG, type RunFolder } from "../run-folder.ts";
import { REPORT_MS, wordsOf } from "../steps.ts";
import { writeReport } from "../../report/page.ts";
import type { VaeTrainConfig } from "./config.ts";
import type { VaeHeldOut } from "./held-out.ts";
import { OneSided } from "./one-sided.ts";
import { type LoggedVaeStep, vaeReportPage } from "./report.ts";

export interface VaeStepsWork {
  readonly config: VaeTrainConfig;
  readonly vae: VideoVae;
  readonly folder: RunFolder;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export class VaeSteps {
  #done: number;
  /** The step of the last checkpoint. */
  #saved: number;
  #reported = -Infinity;
  readonly #oneSided = new OneSided();

  constructor(
    private readonly work: VaeStepsWork,
    private readonly training: VaeTraining,
    private readonly clips: readonly PixelClips[],
    private readonly heldOut: VaeHeldOut | undefined,
    from: number,
    readonly log: LoggedVaeStep[],
  ) {
    this.#done = this.#saved = from;
  }

  /** Steps that are done. */
  get done(): number {
    return this.#done;
  }

  /** Takes the steps that are left; a run that is stopped is saved. */
  async take(): Promise<void> {
    const { config, vae, folder, progress, signal } = this.work;
    if (this.#done % config.heldOutEvery === 0) await this.#measure();
    try {
      for await (const step of this.training) {
        const line = logged(step, vae.gpu.memory.allocated);
        this.log.push(line);
        this.#done = step.step;
        await folder.append(LOG, line);
        progress.report("train", step.step / step.steps, stepWords(this.log));
        for (const text of this.#oneSided.told(step)) progress.note(text);
        if (signal.aborted) break;
        if (step.step % config.checkpointEvery === 0 && step.step < step.steps)
          await this.#save().catch((error: unknown) =>
            progress.note(`The checkpoint of step ${step.step} could not be written, the one before stays: ${wordsOf(error)}`),
          );
        if (step.step % config.heldOutEvery === 0) await this.#measure();
        if (performance.now() - this.#reported >= REPORT_MS) await this.#report(true);
      }
    } catch (error) {
      if (!isStop(error, signal)) throw error;
    }
    if (!signal.aborted) await this.#measure();
    if (this.#done > this.#saved || this.#done === config.steps) await this.#save();
    await this.#report(false);
  }

  /** The checkpoint first: what was learned follows from it, and is written again by a run that goes on. */
  async #save(): Promise<void> {
    const { folder } = this.work;
    await folder.save(await this.training.save());
    for (const [name, bytes] of Object.entries(await this.training.files())) await folder.write(`vae/${name}`, bytes);
    this.#saved = this.#done;
  }

  async #measure(): Promise<void> {
    const { signal } = this.work;
    await this.heldOut?.measure(this.training, this.#done, signal).catch((error: unknown) => {
      if (!isStop(error, signal)) throw error;
    });
  }

  async #report(running: boolean): Promise<void> {
    const { folder, progress } = this.work;
    await writeReport(
      folder,
      () => this.#page(running),
      (message) => progress.note(message),
    );
    this.#reported = performance.now();
  }

  async #page(running: boolean): Promise<string> {
    const { config, vae } = this.work;
    const { options } = config;
    return vaeReportPage({
      title: `Training of a VAE on ${config.data}`,
      steps: config.steps,
      running,
      log: this.log,
      stages: config.stages.map(({ name, steps, resolution, frames }) => ({
        name: [name, resolution, frames && `${frames} frames`].filter(Boolean).join(", "),
        steps,
      })),
      measures: this.heldOut?.measures ?? [],
      pictures: (await this.heldOut?.pictures()) ?? [],
      facts: {
        adapter: `${vae.gpu.name}, ${vae.dtype}`,
        clips: this.clips
          .map(
            ({ rows, broken }) => `${rows.length}${broken.length ? `, ${broken.length} broken ones left out: ${broken.join(", ")}` : ""}`,
          )
          .join("; "),
        trained: `${config.part === "both" ? "encoder and decoder" : `the ${config.part}`}${options.scratch ? ", from scratch" : ""}`,
        losses: lossesText(options),
        optimizer: `${options.optimizer?.name ?? "adamw"}, learning rate ${options.optimizer?.lr ?? 1e-4}`,
      },
    });
  }
}

/** What counts how much, stage by stage. */
function lossesText(options: TrainVaeOptions): string {
  const of = ({ losses }: PlacedVaeStage): string =>
    Object.entries(losses)
      .filter(([name, weight]) => weight > 0 && (name !== "kl" || (options.part ?? "decoder") !== "decoder"))
      .map(
        ([name, weight]) =>
          `${name} ${weight}${name === "disc" && options.discriminator?.start ? ` from step ${options.discriminator.start}` : ""}`,
      )
      .join(", ");
  return vaeStages(options).map(of).join("; ");
}

const logged = ({ steps: _, lossScale: __, skipped, ...step }: VaeTrainingStep, bytes: number): LoggedVaeStep => ({
  ...step,
  ...(skipped ? { skipped } : {}),
  bytes,
});

/** Of the last steps: the mean of the losses, and the speed. */
function stepWords(log: readonly LoggedVaeStep[]): string {
  const last = log.slice(-20);
  const mean = (of: (step: LoggedVaeStep) => number): number => last.reduce((sum, step) => sum + of(step), 0) / last.length;
  const kinds = Object.keys(last.at(-1)!.losses).map((kind) => `${kind} ${mean(({ losses }) => losses[kind] ?? 0).toPrecision(4)}`);
  const speed = mean(({ clips }) => clips) / mean(({ seconds }) => seconds);
  return `step ${last.at(-1)!.step}  ${kinds.join("  ")}  ${speed.toPrecision(3)} clips/s`;
}
