/** The work of `cogwheel train`: prepare the clips, train, keep checkpoints, leave the result. */
import { resolve } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { takesImage } from "../../data/encode.ts";
import { openClips } from "../../data/folder.ts";
import type { PreparedClips } from "../../data/prepared.ts";
import { clipSamples, emptyText } from "../../data/samples.ts";
import { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import { defined } from "../../pipelines/options.ts";
import { bytesText } from "../../base/units.ts";
import { LORA_FILE } from "../../training/export.ts";
import { transformerWeights } from "../../models/cogvideox/weights.ts";
import { expectRunOf } from "../../training/checkpoint.ts";
import { checkOptionsFor } from "../../training/options.ts";
import { priorSeed } from "../../training/prior/stream.ts";
import { stageSeed } from "../../training/stages.ts";
import { train } from "../../training/train.ts";
import { HERE } from "../../tasks/encoding.ts";
import { checkDistinct } from "../files.ts";
import { modelNamed } from "../model-names.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import { hubProgress } from "../terminal/hub-progress.ts";
import { endedBy, interruptible } from "../terminal/interrupt.ts";
import { print, printJson, printPath } from "../terminal/output.ts";
import { Progress } from "../terminal/progress.ts";
import { readConfig, type TrainConfig } from "./config.ts";
import { HeldOut } from "./held-out.ts";
import { planOf, printTrainPlan, streamedWeights } from "./plan.ts";
import { generatePrior } from "./prior-clips.ts";
import { identityOf, type PreparedStage, preparedStages } from "./prepared-stages.ts";
import { heldOutOf, type LoggedStep, RunFolder } from "./run-folder.ts";
import { RunLock } from "../run-lock.ts";
import { type LedRun, leadRun } from "./lead.ts";
import { sizesOf } from "./stages.ts";
import { begun, meanOf, Steps, type TrainingWork } from "./steps.ts";
import { Validation } from "./validation.ts";

/** Flags that are no keys of the config; the others are under their keys. */
export interface TrainFlags {
  readonly resume?: boolean;
  readonly fresh?: boolean;
  readonly plan?: boolean;
  readonly json?: boolean;
  /** Address of a queue whose workers compute the gradients, or take the replicas' rounds. */
  readonly queue?: string;
}

export async function trainFromFolder(file: string | undefined, { resume, fresh, plan, json, queue, ...flags }: TrainFlags): Promise<void> {
  if (resume && fresh) throw new CogwheelError("train", "a run goes on or begins anew, got --resume and --fresh; give one of them");
  const config = await readConfig(file, flags);
  const { adapter, dtype, variant, transformer, vae } = config;
  await checkDistinct(
    [["--out", config.out]],
    [
      ["the config", file],
      ["--data", config.data],
      ["--prior", config.prior],
      ["--prior-prompts", config.priorPrompts],
      ["--model", config.model],
      ["--transformer", config.transformer],
      ["--vae", config.vae],
    ],
  );
  using progress = new Progress();
  const note = (message: string): void => progress.note(message);
  using interruption = interruptible(note);
  const { signal } = interruption;
  try {
    await using model = await CogVideoX.open(config.model === undefined ? EMBEDDED_MODEL : modelNamed(config.model), {
      ...defined({ adapter, dtype, variant, transformer, vae }),
      hub: { signal, ...hubProgress(progress) },
      onWarning: note,
      ...(plan ? { configsOnly: true } : {}),
    });
    const work = { config, model, progress, signal };
    if (plan) {
      checkModel(config, model);
      const planned = await planOf(config, model, work);
      progress[Symbol.dispose]();
      return json ? printJson(planned) : printTrainPlan(planned, queue !== undefined);
    }
    const folder = await RunFolder.open(config.out);
    await using _lock = await RunLock.take(folder.at("run.lock"));
    const checkpoint = fresh ? undefined : await folder.checkpoint();
    if (checkpoint) await expectRunOf("transformer", checkpoint, `the folder ${config.out}`);
    if (resume && !checkpoint)
      throw new CogwheelError("train", `--resume goes on with a run, got none in ${config.out}; leave it out to begin one`);
    // Encoding may take hours: what can be told without it is told first.
    checkModel(config, model);
    const led = queue === undefined ? undefined : await leadRun(queue, work);
    try {
      await runSteps(work, folder, checkpoint, { json: json === true, led });
    } finally {
      await led?.[Symbol.asyncDispose]();
    }
  } catch (error) {
    throw endedBy(error, signal);
  }
}

/** Throws for what the model cannot have, as far as that can be told without reading a clip. */
function checkModel({ options, imageNoises, stages }: TrainConfig, model: CogVideoX): void {
  const ofImages = Object.entries({ imageNoises, conditionDropout: options.conditionDropout }).filter(([, value]) => value !== undefined);
  if (ofImages.length && !takesImage(model))
    throw new CogwheelError(
      "train",
      `images are learned from by models that take one, got ${ofImages.map(([name]) => name).join(" and ")} ` +
        `for one that takes text alone; leave ${ofImages.length > 1 ? "them" : "it"} out`,
    );
  checkOptionsFor(transformerWeights(model.configs.transformer), options);
  for (const stage of stages) sizesOf(stage, model);
}

async function runSteps(
  work: TrainingWork,
  folder: RunFolder,
  checkpoint: Uint8Array<ArrayBuffer> | undefined,
  { json, led }: { json: boolean; led: LedRun | undefined },
): Promise<void> {
  const { config, model, progress, signal } = work;
  const clips = await openClips(config.data);
  const unseen = config.heldOut === undefined ? undefined : await openClips(config.heldOut);
  // Streamed weights give the same bytes as those that stay.
  const streamed = streamedWeights(config, model);
  await generatePrior(work);
  const kept = config.prior === undefined ? undefined : await openClips(config.prior);
  for (const warning of [...clips.warnings, ...(kept?.warnings ?? [])]) progress.note(warning);
  const shared = {
    ...defined({ cache: config.cache, imageNoises: config.imageNoises }),
    emptyText: config.nullText === "empty",
    ...(led ? { sharing: led.encoding } : {}),
    signal,
    onProgress: (stage: string, done: number, detail?: string) => progress.report(stage, done, detail),
    onWarning: (message: string) => progress.note(message),
  };
  const beside = config.beside === undefined ? [] : await heldOutOf(config.beside);
  const stages = await preparedStages(config.stages, model, clips, { ...shared, ...defined({ prior: kept }) });
  const [first] = stages as [PreparedStage];
  const last = stages.at(-1)!;
  if (!json) {
    print(`${model.gpu.name}${model.gpu.caps.kind === "software" ? " (software)" : ""}, ${config.options.dtype ?? model.dtype}`);
    if (model.gpu.advice) print(model.gpu.advice);
    for (const { name, prepared, prior } of stages) {
      const of = ({ clips: { length }, broken }: PreparedClips, label: string): string =>
        `${length} clips of ${label}${broken.length ? `, ${broken.length} left out` : ""}`;
      print(`${name && `${name}: `}${of(prepared, clips.label)}${prior ? `; to keep what ${of(prior, kept!.label)} show` : ""}`);
    }
    for (const [who, count] of led?.encoding.shares ?? []) print(`${count} clips and captions encoded ${who === HERE ? who : `by ${who}`}`);
  }
  const heldOut =
    unseen &&
    (await HeldOut.prepare(
      model,
      folder,
      { ...shared, sizes: last.sizes, clips: unseen, beside },
      new Set(stages.flatMap(({ prepared, prior }) => [...prepared.clips, ...(prior?.clips ?? [])].map(({ content }) => content))),
    ));
  const data = stages.map(({ prepared, pictures }, i) =>
    clipSamples(model, prepared, { seed: stageSeed(config.seed, i), ...defined({ pictures }) }),
  );
  const prior = stages.map(({ prior }, i) => prior && clipSamples(model, prior, { seed: priorSeed(stageSeed(config.seed, i)) }));
  await using training = train(model, data[0]!, {
    ...(led ? led.withWorkers(config.options) : config.options),
    ...(config.options.stages
      ? { stages: config.options.stages.map((stage, i) => ({ ...stage, ...defined({ data: data[i], prior: prior[i] }) })) }
      : {}),
    ...(prior[0] ? { prior: { ...config.keeping, data: prior[0] } } : {}),
    nullText: config.nullText === "empty" ? await emptyText(first.prepared) : "zeros",
    identity: identityOf(stages),
    ...(streamed ? { compile: streamed } : {}),
    ...(checkpoint ? { resume: checkpoint } : {}),
  });
  const from = await begun(training, folder, checkpoint !== undefined);
  if (led) led.leader.done = from;
  if (from > 0) progress.note(`Going on after step ${from} of ${config.steps}.`);
  await heldOut?.goOn(from);
  const validation = config.sampleEvery
    ? await Validation.open(model, folder, config, { ...clips, rows: last.rows }, last.sizes, from)
    : undefined;
  const steps = new Steps(work, training, folder, stages, { validation, heldOut }, from, await folder.openLog(from));
  const begin = performance.now();
  await steps.take();
  const { done, log } = steps;
  if (signal.aborted) {
    progress.note(`Stopped after step ${done}; the same command goes on from there.`);
    signal.throwIfAborted();
  }
  progress[Symbol.dispose]();
  const seconds = (performance.now() - begin) / 1000;
  const learned = log.slice(from).reduce((sum, step) => sum + step.clips.length, 0);
  const recent = log.slice(-100);
  const { loss, priorLoss } = lossesOf(recent);
  const heldOutLoss = heldOut?.losses.at(-1)?.loss;
  const result = resolve(folder.at(config.full ? "transformer" : LORA_FILE));
  const counts = stages.map(({ prepared }) => prepared.clips.length);
  // Of this process, as the seconds are.
  const moved = log.filter(({ step }) => step > from).reduce((sum, { round }) => sum + (round ? round.sent + round.received : 0), 0);
  const leftOut = [...new Set(stages.flatMap(({ prepared, prior }) => [...prepared.broken, ...(prior?.broken ?? [])]))];
  if (json)
    return printJson({
      steps: done,
      loss,
      ...defined({ priorLoss }),
      ...defined({ heldOutLoss }),
      seconds,
      clips: config.options.stages ? counts : counts[0]!,
      leftOut,
      ...(moved ? { exchanged: moved } : {}),
      ...(led ? { workers: Object.fromEntries(led.leader.shares), encoded: Object.fromEntries(led.encoding.shares) } : {}),
      files: [result],
    });
  print(`${done} steps, ${learned} clips in ${seconds.toFixed(0)} s; loss of the last ${recent.length} steps ${loss.toFixed(4)}`);
  if (priorLoss !== undefined) print(`loss of prior clips in them ${priorLoss.toPrecision(3)}`);
  if (moved > 0) print(`${bytesText(moved, 1)} exchanged with workers`);
  for (const [worker, count] of led?.leader.shares ?? []) print(`${count} ${led!.what} by ${worker}`);
  if (heldOutLoss !== undefined) print(`loss on held-out clips ${heldOutLoss.toFixed(4)}`);
  printPath(result);
}

/** The mean of steps; with prior clips among theirs, of each kind of clip. */
function lossesOf(steps: readonly LoggedStep[]): { loss: number; priorLoss?: number } {
  const clips = steps.flatMap((step) => step.clips);
  const of = (prior: boolean): number[] => clips.filter((clip) => (clip.prior ?? false) === prior).map(({ loss }) => loss);
  return of(true).length ? { loss: meanOf(of(false)), priorLoss: meanOf(of(true)) } : { loss: meanOf(steps.map(({ loss }) => loss)) };
}
