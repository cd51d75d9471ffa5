/** The work of `cogwheel train vae`: read the clips, train, keep checkpoints, leave the VAE's folder. */
import { basename, dirname, join, resolve } from "node:path";
import { openSource } from "#files";
import { CogwheelError } from "../../../base/errors.ts";
import { filterRows, openMedia, type ClipFolder } from "../../../data/folder.ts";
import { type PixelClips, type PixelClipsOptions, pixelClips } from "../../../data/pixels.ts";
import { defined } from "../../../pipelines/options.ts";
import { openLpips, type OpenedLpips } from "../../../models/lpips/open.ts";
import type { CheckpointSource } from "../../../sources/source.ts";
import { VideoVae } from "../../../pipelines/video-vae.ts";
import type { WorkerPlace } from "../../../pipelines/workers/types.ts";
import { expectRunOf } from "../../../training/checkpoint.ts";
import { WEIGHTS_FILE } from "../../../training/export.ts";
import { stageSeed } from "../../../training/stages.ts";
import { leastOf, tooSmall } from "../../../training/vae/least.ts";
import { checkVaeOptions, type TrainVaeOptions, vaeStages } from "../../../training/vae/options.ts";
import type { PixelSample } from "../../../training/vae/sample.ts";
import { trainVae } from "../../../training/vae/train-vae.ts";
import type { PieceWorkers } from "../../../training/vae/workers/types.ts";
import { checkDistinct } from "../../files.ts";
import { modelNamed } from "../../model-names.ts";
import { EMBEDDED_MODEL } from "../../package-root.ts";
import { hubProgress } from "../../terminal/hub-progress.ts";
import { endedBy, interruptible } from "../../terminal/interrupt.ts";
import { print, printJson, printPath } from "../../terminal/output.ts";
import { Progress } from "../../terminal/progress.ts";
import { LOG, RunFolder } from "../run-folder.ts";
import type { TrainFlags } from "../run.ts";
import { RunLock } from "../../run-lock.ts";
import { begun } from "../steps.ts";
import { readVaeConfig, type VaeTrainConfig, vaeSizes } from "./config.ts";
import { VaeHeldOut } from "./held-out.ts";
import { printVaePlan } from "./plan.ts";
import { isLogged, type LoggedVaeStep, measuresText } from "./report.ts";
import { VaeSteps } from "./steps.ts";
import { tryStages } from "./trial.ts";

export async function trainVaeFromFolder(file: string | undefined, { resume, fresh, plan, json, ...flags }: TrainFlags): Promise<void> {
  if (resume && fresh) throw new CogwheelError("train", "a run goes on or begins anew, got --resume and --fresh; give one of them");
  const config = await readVaeConfig(file, flags);
  await checkDistinct(
    [
      ["--out", config.out],
      ["--out", resultOf(config.out)],
      ["--out", join(resultOf(config.out), WEIGHTS_FILE)],
    ],
    [
      ["the config", file],
      ["--data", config.data],
      ["--model", config.model],
      ["--vae", config.vae],
      ["--held-out", config.heldOut],
    ],
  );
  using progress = new Progress();
  const note = (message: string): void => progress.note(message);
  using interruption = interruptible(note);
  const { signal } = interruption;
  try {
    await using vae = await VideoVae.open(config.model === undefined ? EMBEDDED_MODEL : modelNamed(config.model), {
      ...defined({ adapter: config.adapter, variant: config.variant, vae: config.vae }),
      dtype: config.dtype ?? "f32",
      hub: { signal, ...hubProgress(progress) },
      onWarning: note,
      ...(plan ? { configsOnly: true } : {}),
    });
    if (plan) {
      await using lpips = config.lpips ? await openLpipsFiles(config.lpips) : undefined;
      return await printVaePlan(config, vae, { lpips: lpips?.opened, json: json === true, progress, signal });
    }
    // What can be told without reading a clip is told first, of all stages.
    for (const stage of config.stages) vaeSizes(stage, vae);
    const folder = await RunFolder.open(config.out);
    await using _lock = await RunLock.take(folder.at("run.lock"));
    const checkpoint = fresh ? undefined : await folder.checkpoint();
    if (checkpoint) await expectRunOf("vae", checkpoint, `the folder ${config.out}`);
    if (resume && !checkpoint)
      throw new CogwheelError("train", `--resume goes on with a run, got none in ${config.out}; leave it out to begin one`);
    await runSteps({ config, vae, progress, signal, folder, json: json === true, ...(checkpoint ? { checkpoint } : {}) });
  } catch (error) {
    throw endedBy(error, signal);
  }
}

/** The folder that a run leaves the VAE in. */
const resultOf = (out: string): string => join(out, "vae");

type ClipSize = Parameters<typeof tooSmall>[1];

interface Work {
  readonly config: VaeTrainConfig;
  readonly vae: VideoVae;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  readonly folder: RunFolder;
  readonly json: boolean;
  readonly checkpoint?: Uint8Array<ArrayBuffer>;
}

async function runSteps(work: Work): Promise<void> {
  const { config, vae, progress, signal, folder, json, checkpoint } = work;
  await using lpips = config.lpips ? await openLpipsFiles(config.lpips) : undefined;
  using workers = config.workers && (await processesOf(work, config.workers));
  const options: TrainVaeOptions = { ...config.options, ...(lpips ? { lpips: lpips.opened } : {}), ...(workers ? { workers } : {}) };
  checkVaeOptions(options);
  tryStages(config.stages, vae, options);
  const clips = await openMedia(config.data);
  for (const warning of clips.warnings) progress.note(warning);
  const stages: PixelClips[] = [];
  for (const [i, stage] of config.stages.entries()) {
    const rows = stage.filter === undefined ? clips.rows : filterRows(clips.rows, stage.filter);
    const least = leastOf(options, vaeStages(options)[i]!);
    // No side is shorter than the stage's, which was tried; how long a clip is tells only the clip.
    const refuse = least.some(({ frames }) => frames > 1) ? (size: ClipSize) => tooSmall(least, size) : undefined;
    stages.push(await pixelsOf(work, { ...clips, rows }, stage, refuse));
  }
  const trained = await vae.training({ onWarning: (message) => progress.note(message) });
  if (!json) {
    print(`${vae.gpu.name}${vae.gpu.caps.kind === "software" ? " (software)" : ""}, ${vae.dtype}`);
    for (const [i, { rows, broken }] of stages.entries())
      print(
        `${config.stages[i]!.name && `${config.stages[i]!.name}: `}${rows.length} clips of ${clips.label}` +
          (broken.length ? `, ${broken.length} left out` : ""),
      );
  }
  const data = stages.map((stage, i) => stage.samples(stageSeed(config.seed, i)));
  await using training = trainVae(trained, data[0]!, {
    ...options,
    ...(options.stages ? { stages: options.stages.map((stage, i) => ({ ...stage, data: data[i]! })) } : {}),
    identity: {
      weights: trained.version,
      ...Object.fromEntries(["data", "clips", "sizes"].map((key) => [key, stages.map(({ identity }) => identity[key])])),
    },
    ...(checkpoint ? { resume: checkpoint } : {}),
    signal,
  });
  const heldOut = config.heldOut === undefined ? undefined : await heldOutOf(work, stages);
  const from = await begun(training, folder, checkpoint !== undefined);
  await heldOut?.goOn(from);
  if (from > 0) progress.note(`Going on after step ${from} of ${config.steps}.`);
  const log = await folder.openLines<LoggedVaeStep>(LOG, from, isLogged);
  const steps = new VaeSteps(work, training, stages, heldOut, from, log);
  const begin = performance.now();
  await steps.take();
  if (signal.aborted) {
    progress.note(`Stopped after step ${steps.done}; the same command goes on from there.`);
    signal.throwIfAborted();
  }
  progress[Symbol.dispose]();
  const seconds = (performance.now() - begin) / 1000;
  const recent = log.slice(-100).flatMap(({ loss }) => (Number.isFinite(loss) ? [loss!] : []));
  const loss = recent.reduce((a, b) => a + b, 0) / Math.max(1, recent.length);
  const last = heldOut?.measures.at(-1);
  const result = resolve(resultOf(folder.path));
  if (json) return printJson({ steps: steps.done, loss, ...(last ? { heldOut: last } : {}), seconds, files: [result] });
  print(`${steps.done} steps in ${seconds.toFixed(0)} s; loss of the last ${recent.length} steps ${loss.toFixed(4)}`);
  if (last) print(`held-out clips: ${measuresText(last)}`);
  printPath(result);
}

/** Processes that share clips, on devices that are opened as this one's. */
async function processesOf({ vae, config, progress }: Work, places: readonly WorkerPlace[]): Promise<PieceWorkers> {
  const { TrainingProcesses } = await import("../../../training/vae/workers/processes-node.ts");
  const device = { ...defined({ adapter: config.adapter }), tuning: vae.gpu.tuning?.table ?? false };
  return new TrainingProcesses(places, device, (text) => progress.note(text));
}

/** A network from files that a user names; they stay open until its weights were read. */
async function openLpipsFiles(paths: readonly string[]): Promise<{ opened: OpenedLpips } & AsyncDisposable> {
  const sources: CheckpointSource[] = [];
  const close = async (): Promise<void> => {
    for (const source of sources) await source[Symbol.asyncDispose]();
  };
  try {
    const files = [];
    for (const path of paths) {
      const source = await openSource(dirname(resolve(path)), { anyFile: true });
      sources.push(source);
      files.push({ source, path: basename(path) });
    }
    return { opened: await openLpips(files), [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    if (!(error instanceof CogwheelError)) throw error;
    throw new CogwheelError("train", `--lpips ${paths.join(",")}: ${error.message} (docs/training-vae.md#losses)`, { cause: error });
  }
}

/** Clips as pixels, with their moments where the encoder stays as it is. */
function pixelsOf(
  { vae, progress, signal, config }: Work,
  folder: ClipFolder,
  stage: VaeTrainConfig["stages"][number],
  refuse?: PixelClipsOptions["refuse"],
): Promise<PixelClips> {
  const moments = momentsBy(vae, signal);
  return pixelClips(folder, {
    sizes: vaeSizes(stage, vae),
    spatial: vae.ratio.spatial,
    temporal: 2 * vae.ratio.temporal,
    ...(config.part === "decoder" ? { encode: moments } : {}),
    ...(refuse ? { refuse } : {}),
    signal,
    onProgress: (what, done, detail) => progress.report(stage.name ? `${stage.name}: ${what}` : what, done, detail),
    onWarning: (message) => progress.note(message),
  });
}

const momentsBy =
  (vae: VideoVae, signal: AbortSignal) =>
  async ({ pixels, frames, height, width }: PixelSample): Promise<Float32Array> => {
    const { mean, logvar } = await vae.posterior(pixels, { frames, height, width }, { signal });
    const moments = new Float32Array(mean.length + logvar.length);
    moments.set(mean);
    moments.set(logvar, mean.length);
    return moments;
  };

/** Held-out clips of the last stage's size, and a still of each. */
async function heldOutOf(work: Work, learned: readonly PixelClips[]): Promise<VaeHeldOut> {
  const { config, vae, folder, signal } = work;
  const clips = await pixelsOf(work, await openMedia(config.heldOut!), { ...config.stages.at(-1)!, name: "held-out clips" });
  const known = [...clips.contents].find((content) => learned.some(({ contents }) => contents.has(content)));
  if (known !== undefined)
    throw new CogwheelError(
      "train",
      `held-out clips must not be learned from, got one of ${config.heldOut} in the data too; take it out of either`,
    );
  const samples: PixelSample[] = [];
  for await (const sample of clips.samples(0)(0)) samples.push(await sample.load());
  const encode = config.part === "decoder" ? momentsBy(vae, signal) : undefined;
  const stills: PixelSample[] = [];
  for (const { moments: _, ...sample } of samples.filter(({ frames }) => frames > 1)) {
    const plane = sample.height * sample.width;
    const still = {
      ...sample,
      pixels: sample.pixels.map((_, i, all) => all[Math.floor(i / (sample.frames * plane)) * sample.frames * plane + (i % plane)]!),
    };
    stills.push(encode ? { ...still, moments: await encode(still) } : still);
  }
  return new VaeHeldOut(samples, stills, folder, config.heldOutEvery);
}
