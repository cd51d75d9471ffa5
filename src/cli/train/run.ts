/** The work of `cogwheel train`: prepare the clips, train, keep checkpoints, leave the result. */
import { resolve } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { checkSizes } from "../../data/clip-size.ts";
import { prepareClips } from "../../data/encode.ts";
import { filterRows, openClips } from "../../data/folder.ts";
import type { PreparedClips } from "../../data/prepared.ts";
import { clipSamples, emptyText } from "../../data/samples.ts";
import { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import { defined } from "../../pipelines/options.ts";
import { LORA_FILE } from "../../training/export.ts";
import type { TrainingStep } from "../../training/options.ts";
import { train, type Training } from "../../training/train.ts";
import { checkDistinct } from "../files.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import { hubProgress } from "../terminal/hub-progress.ts";
import { interruptible, Interrupted } from "../terminal/interrupt.ts";
import { print, printJson, printPath } from "../terminal/output.ts";
import { Progress } from "../terminal/progress.ts";
import { readConfig, sizesOf, type TrainConfig } from "./config.ts";
import { needsOf, planOf, printTrainPlan } from "./plan.ts";
import { reportPage } from "./report.ts";
import { type LoggedStep, RunFolder } from "./run-folder.ts";
import { Validation } from "./validation.ts";

/** Flags that are no keys of the config; the others are under their keys. */
export interface TrainFlags {
  readonly resume?: boolean;
  readonly fresh?: boolean;
  readonly plan?: boolean;
  readonly json?: boolean;
}

/** What the parts of a run share. */
interface Work {
  readonly config: TrainConfig;
  readonly model: CogVideoX;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export async function trainFromFolder(file: string | undefined, { resume, fresh, plan, json, ...flags }: TrainFlags): Promise<void> {
  if (resume && fresh) throw new CogwheelError("train", "a run goes on or begins anew, got --resume and --fresh; give one of them");
  const config = await readConfig(file, flags);
  await checkDistinct(
    [["--out", config.out]],
    [
      ["the config", file],
      ["--data", config.data],
      ["--model", config.model],
    ],
  );
  using progress = new Progress();
  const note = (message: string): void => progress.note(message);
  using interruption = interruptible(note);
  const { signal } = interruption;
  try {
    await using model = await CogVideoX.open(config.model ?? EMBEDDED_MODEL, {
      ...defined({ adapter: config.adapter, dtype: config.dtype, variant: config.variant }),
      hub: { signal, ...hubProgress(progress) },
      onWarning: note,
      ...(plan ? { configsOnly: true } : {}),
    });
    const work = { config, model, progress, signal };
    if (plan) {
      const sizes = sizesOf(config, model);
      checkSizes(sizes, model.rules, model.configs.transformer.use_learned_positional_embeddings);
      const planned = await planOf(config, model, sizes, work);
      progress[Symbol.dispose]();
      return json ? printJson(planned) : printTrainPlan(planned);
    }
    const folder = await RunFolder.open(config.out);
    const checkpoint = fresh ? undefined : await folder.checkpoint();
    if (resume && !checkpoint)
      throw new CogwheelError("train", `--resume goes on with a run, got none in ${config.out}; leave it out to begin one`);
    await runSteps(work, folder, checkpoint, json === true);
  } catch (error) {
    throw signal.aborted && signal.reason instanceof Interrupted ? signal.reason : error;
  }
}

async function runSteps(work: Work, folder: RunFolder, checkpoint: Uint8Array<ArrayBuffer> | undefined, json: boolean): Promise<void> {
  const { config, model, progress, signal } = work;
  const clips = await openClips(config.data);
  for (const warning of clips.warnings) progress.note(warning);
  const rows = config.filter === undefined ? clips.rows : filterRows(clips.rows, config.filter);
  const sizes = sizesOf(config, model);
  const prepared = await prepareClips(
    model,
    { ...clips, rows },
    {
      sizes,
      ...defined({ cache: config.cache, imageNoises: config.imageNoises }),
      emptyText: config.nullText === "empty",
      signal,
      onProgress: (stage, done, detail) => progress.report(stage, done, detail),
      onWarning: (message) => progress.note(message),
    },
  );
  if (!json) {
    print(`${model.gpu.name}${model.gpu.caps.kind === "software" ? " (software)" : ""}, ${config.options.dtype ?? model.dtype}`);
    if (model.gpu.advice) print(model.gpu.advice);
    print(`${prepared.clips.length} clips of ${clips.label}${prepared.broken.length ? `, ${prepared.broken.length} left out` : ""}`);
  }
  // Streamed weights give the same bytes as those that stay.
  const streamed = config.memory === undefined ? undefined : needsOf(config.options, model, sizes, config.memory).compile;
  await using training = train(model, clipSamples(model, prepared, { seed: config.seed }), {
    ...config.options,
    nullText: config.nullText === "empty" ? await emptyText(prepared) : "zeros",
    identity: prepared.identity,
    ...(streamed ? { compile: streamed } : {}),
    ...(checkpoint ? { resume: checkpoint } : {}),
  });
  const from = await begun(training, folder, checkpoint !== undefined);
  const log = await folder.openLog(from);
  const validation = config.sampleEvery ? await Validation.open(model, folder, config, { ...clips, rows }, sizes, from) : undefined;
  if (from > 0) progress.note(`Going on after step ${from} of ${config.steps}.`);
  const report = (running: boolean): Promise<void> =>
    folder
      .write(
        "report.html",
        new TextEncoder().encode(reportPage({ ...reportOf(work, prepared, log), running, clips: validation?.clips ?? [] })),
      )
      .catch((error: unknown) => progress.note(`The report could not be written: ${wordsOf(error)}`));
  let [done, saved] = [from, from];
  let troubled = false;
  const save = async (): Promise<void> => {
    await folder.save(await training.save());
    saved = done;
    await writeResult(training, folder, config);
  };
  const validate = async (): Promise<void> => {
    if (!validation || signal.aborted) return;
    if (done > 0 && saved !== done) await writeResult(training, folder, config);
    await validation.make(done, signal);
  };
  const begin = performance.now();
  let reported = -Infinity;
  if (done === 0) await validate();
  for await (const step of training) {
    const line = logged(step, model);
    log.push(line);
    done = step.step;
    await folder.log(line).catch(() => undefined); // a full disk ends no run: the next checkpoint tells
    progress.report("train", step.step / step.steps, stepWords(log));
    if (signal.aborted) break;
    if (step.step % config.checkpointEvery === 0 && step.step < step.steps)
      await save().then(
        () => (troubled = false),
        (error: unknown) => {
          troubled = true;
          progress.note(`The checkpoint of step ${step.step} could not be written, the one before stays: ${wordsOf(error)}`);
        },
      );
    if (config.sampleEvery && step.step % config.sampleEvery === 0) await validate();
    if (performance.now() - reported < REPORT_MS) continue;
    await report(true);
    reported = performance.now();
  }
  if (done > saved || troubled || done === config.steps) await save();
  await report(false);
  if (signal.aborted) {
    progress.note(`Stopped after step ${done}; the same command goes on from there.`);
    signal.throwIfAborted();
  }
  progress[Symbol.dispose]();
  const seconds = (performance.now() - begin) / 1000;
  const last = log.slice(-100);
  const loss = last.reduce((sum, step) => sum + step.loss, 0) / Math.max(1, last.length);
  const files = resultFiles(config).map((name) => folder.at(name));
  if (json)
    printJson({
      steps: done,
      loss,
      seconds,
      clips: prepared.clips.length,
      leftOut: prepared.broken,
      files: files.map((one) => resolve(one)),
    });
  else {
    print(
      `${done} steps, ${(done - from) * clipsOf(config)} clips in ${seconds.toFixed(0)} s; ` +
        `loss of the last ${last.length} steps ${loss.toFixed(4)}`,
    );
    for (const one of files) printPath(resolve(one));
  }
}

/** Timesteps of every published checkpoint. */
const TIMESTEPS = 1000;
/** The report is written so often at most. */
const REPORT_MS = 5000;

/** What the report tells of a run, but for what changes while it goes on. */
function reportOf({ config, model }: Work, { clips, broken }: PreparedClips, log: readonly LoggedStep[]) {
  const { lora, full, optimizer } = config.options;
  return {
    title: `Training on ${config.data}`,
    steps: config.steps,
    log,
    timesteps: TIMESTEPS,
    facts: {
      model: model.checkpoint.source.label,
      adapter: `${model.gpu.name}, ${config.options.dtype ?? model.dtype}`,
      clips: `${clips.length}${broken.length ? `, ${broken.length} broken ones left out: ${broken.join(", ")}` : ""}`,
      trained: full ? "the transformer" : `an adapter of rank ${lora?.rank ?? 64}`,
      optimizer: `${optimizer?.name ?? "adamw"}, learning rate ${optimizer?.lr ?? 1e-4}`,
    },
  };
}

/** Opens the run; of one that goes on, how far it was. */
async function begun(training: Training, folder: RunFolder, goesOn: boolean): Promise<number> {
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

const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
const clipsOf = ({ options: { batch = 1, accumulation = 1 } }: TrainConfig): number => batch * accumulation;

const logged = ({ step, loss, clips, gradNorm, lr, seconds, skipped, lossScale }: TrainingStep, { gpu }: CogVideoX): LoggedStep => ({
  step,
  loss,
  clips,
  gradNorm,
  lr,
  seconds,
  ...(skipped ? { skipped } : {}),
  ...(lossScale === 1 ? {} : { lossScale }),
  bytes: gpu.memory.allocated,
});

/** Of the last steps: the mean of the loss, and the speed. */
function stepWords(log: readonly LoggedStep[]): string {
  const last = log.slice(-20);
  const mean = (of: (step: LoggedStep) => number): number => last.reduce((sum, step) => sum + of(step), 0) / last.length;
  const { step, clips } = last.at(-1)!;
  const speed = clips.length / mean(({ seconds }) => seconds);
  return `step ${step}  loss ${mean(({ loss }) => loss).toFixed(4)}  ${speed.toPrecision(3)} clips/s`;
}

const resultFiles = ({ full }: TrainConfig): string[] => [full ? "transformer" : LORA_FILE];

/** What was learned so far: an adapter's file, or the transformer's folder. */
async function writeResult(training: Training, folder: RunFolder, { full, ema }: TrainConfig): Promise<void> {
  const of = { average: ema !== undefined };
  if (!full) return await folder.write(LORA_FILE, await training.adapter(of));
  for (const [name, bytes] of Object.entries(await training.transformer(of))) await folder.write(`transformer/${name}`, bytes);
}
