/** The steps of a run: taken, logged, kept in checkpoints and shown in the report, until the last one or Ctrl-C. */
import { CogwheelError } from "../../base/errors.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import { LORA_FILE } from "../../training/export.ts";
import { type DilocoOptions, dilocoOf } from "../../training/diloco/options.ts";
import type { TrainingStep } from "../../training/options.ts";
import type { Training } from "../../training/train.ts";
import { isStop } from "../terminal/interrupt.ts";
import type { Progress } from "../terminal/progress.ts";
import type { TrainConfig } from "./config.ts";
import type { HeldOut } from "./held-out.ts";
import type { PreparedStage } from "./prepared-stages.ts";
import { reportPage } from "./report.ts";
import { writeReport } from "../report/page.ts";
import { LOG, type LoggedStep, type RunFolder } from "./run-folder.ts";
import type { Validation } from "./validation.ts";

/** What the parts of a run share. */
export interface TrainingWork {
  readonly config: TrainConfig;
  readonly model: CogVideoX;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Timesteps of every published checkpoint. */
const TIMESTEPS = 1000;
/** The report is written so often at most. */
export const REPORT_MS = 5000;

export const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class Steps {
  #done: number;
  /** The step of the last checkpoint. */
  #saved: number;
  #reported = -Infinity;

  constructor(
    private readonly work: TrainingWork,
    private readonly training: Training,
    private readonly folder: RunFolder,
    private readonly stages: readonly PreparedStage[],
    private readonly shown: { readonly validation: Validation | undefined; readonly heldOut: HeldOut | undefined },
    from: number,
    readonly log: LoggedStep[],
  ) {
    this.#done = this.#saved = from;
  }

  /** Steps that are done. */
  get done(): number {
    return this.#done;
  }

  /** Takes the steps that are left; a run that is stopped is saved. */
  async take(): Promise<void> {
    const { config, signal } = this.work;
    if (this.#done === 0) await this.#validate();
    if (this.#done % config.heldOutEvery === 0) await this.#measure();
    try {
      await this.#steps();
    } catch (error) {
      // A step that waits for workers is broken off; it has changed nothing yet.
      if (!isStop(error, signal)) throw error;
    }
    if (!signal.aborted) await this.#measure();
    if (this.#done > this.#saved || this.#done === config.steps) await this.#save();
    await this.#report(false);
  }

  async #steps(): Promise<void> {
    const { config, model, progress, signal } = this.work;
    for await (const step of this.training) {
      const line = logged(step, model);
      this.log.push(line);
      this.#done = step.step;
      await this.folder.append(LOG, line);
      progress.report("train", step.step / step.steps, stepWords(this.log));
      if (signal.aborted) break;
      const comesTo = (every: number): boolean =>
        Math.floor(step.step / every) > Math.floor((step.step - (step.round?.steps ?? 1)) / every);
      if (comesTo(config.checkpointEvery) && step.step < step.steps)
        await this.#save().catch((error: unknown) =>
          progress.note(`The checkpoint of step ${step.step} could not be written, the one before stays: ${wordsOf(error)}`),
        );
      if (comesTo(config.heldOutEvery)) await this.#measure();
      if (config.sampleEvery && comesTo(config.sampleEvery)) await this.#validate();
      if (performance.now() - this.#reported >= REPORT_MS) await this.#report(true);
    }
  }

  /** The checkpoint first: what was learned follows from it, and is written again by a run that goes on. */
  async #save(): Promise<void> {
    await this.folder.save(await this.training.save());
    await this.#writeResult();
    this.#saved = this.#done;
  }

  /** What was learned so far: an adapter's file, or the transformer's folder. */
  async #writeResult(): Promise<void> {
    const { full, ema } = this.work.config;
    const of = { average: ema !== undefined };
    if (!full) return await this.folder.write(LORA_FILE, await this.training.adapter(of));
    for (const [name, bytes] of Object.entries(await this.training.transformer(of))) await this.folder.write(`transformer/${name}`, bytes);
  }

  /** The loss of held-out clips; a stop is taken up by the steps. */
  async #measure(): Promise<void> {
    const { signal } = this.work;
    const flops = this.log.reduce((sum, step) => sum + step.flops, 0);
    await this.shown.heldOut?.measure(this.training, this.#done, flops, signal).catch((error: unknown) => {
      if (!isStop(error, signal)) throw error;
    });
  }

  /** Clips that cannot be made end no run. */
  async #validate(): Promise<void> {
    const { signal, progress } = this.work;
    const { validation } = this.shown;
    if (!validation || signal.aborted) return;
    try {
      if (this.#done > this.#saved) await this.#writeResult();
      await validation.make(this.#done, signal);
    } catch (error) {
      if (!isStop(error, signal)) progress.note(`The validation clips of step ${this.#done} could not be made: ${wordsOf(error)}`);
    }
  }

  async #report(running: boolean): Promise<void> {
    await writeReport(
      this.folder,
      () => this.#page(running),
      (message) => this.work.progress.note(message),
    );
    this.#reported = performance.now();
  }

  async #page(running: boolean): Promise<string> {
    const { config, model } = this.work;
    const { lora, full, optimizer, diloco } = config.options;
    const clipsOf = ({ name, prepared: { clips, broken }, prior }: PreparedStage): string =>
      `${name && `${name}: `}${clips.length}${broken.length ? `, ${broken.length} broken ones left out: ${broken.join(", ")}` : ""}` +
      (prior ? `; ${prior.clips.length} prior ones of ${config.prior}` : "");
    const { heldOut, validation } = this.shown;
    return reportPage({
      title: `Training on ${config.data}`,
      steps: config.steps,
      running,
      log: this.log,
      timesteps: TIMESTEPS,
      clips: (await validation?.clips()) ?? [],
      sampled: validation?.steps.length ?? 0,
      stages: this.stages.map(({ name, steps, resolution }) => ({ name: [name, resolution].filter(Boolean).join(", "), steps })),
      ...(heldOut ? { heldOut: heldOut.losses, beside: heldOut.beside } : {}),
      facts: {
        model: model.checkpoint.source.label,
        adapter: `${model.gpu.name}, ${config.options.dtype ?? model.dtype}`,
        clips: this.stages.map(clipsOf).join("; "),
        trained: full ? "the transformer" : `an adapter of rank ${lora?.rank ?? 64}`,
        ...(diloco ? { diloco: dilocoWords(diloco) } : {}),
        optimizer: `${optimizer?.name ?? "adamw"}, learning rate ${this.stages.map(({ lr }) => lr ?? optimizer?.lr ?? 1e-4).join(", ")}`,
      },
    });
  }
}

/** Opens the run; of one that goes on, how far it was. */
export async function begun(training: Pick<Training, "open">, folder: RunFolder, goesOn: boolean): Promise<number> {
  try {
    const done = await training.open();
    if (!goesOn) await folder.clear();
    return done;
  } catch (error) {
    if (!goesOn || !(error instanceof CogwheelError)) throw error;
    throw new CogwheelError(
      "train",
      `${folder.path} holds a run that this one cannot go on with: ${error.message}; begin anew with --fresh, or choose another --out`,
      { cause: error },
    );
  }
}

const logged = (
  { step, loss, clips, gradNorm, lr, seconds, skipped, lossScale, fill, stage, round, flops }: TrainingStep,
  { gpu }: CogVideoX,
): LoggedStep => ({
  step,
  loss,
  clips,
  gradNorm,
  lr,
  seconds,
  ...(skipped ? { skipped } : {}),
  ...(lossScale === 1 ? {} : { lossScale }),
  ...(fill === undefined ? {} : { fill }),
  bytes: gpu.memory.allocated,
  ...(stage === undefined ? {} : { stage }),
  ...(round ? { round } : {}),
  flops,
});

function dilocoWords(options: DilocoOptions): string {
  const { steps, replicas, outerLr, outerMomentum, exchange, innerState } = dilocoOf(options);
  const outer = `outer rate ${outerLr} and momentum ${outerMomentum}`;
  return `rounds of ${steps} steps, ${replicas} replicas, ${outer}, ${exchange}, inner state ${innerState}`;
}

/** The mean of those that are finite: a step that was skipped may have a loss that is not. 0 of none. */
export function meanOf(values: readonly number[]): number {
  const finite = values.filter(Number.isFinite);
  return finite.reduce((sum, value) => sum + value, 0) / Math.max(1, finite.length);
}

/** Of the last steps: the mean of the loss, and the speed. */
function stepWords(log: readonly LoggedStep[]): string {
  const last = log.slice(-20);
  const mean = (of: (step: LoggedStep) => number): number => meanOf(last.map(of));
  const speed = mean(({ clips }) => clips.length) / mean(({ seconds }) => seconds);
  return `step ${last.at(-1)!.step}  loss ${mean(({ loss }) => loss).toFixed(4)}  ${speed.toPrecision(3)} clips/s`;
}
