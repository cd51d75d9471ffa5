/** `cogwheel generate`: from a prompt to a file. */
import { basename, join, resolve } from "node:path";
import { peakResidentBytes } from "#platform";
import { CogwheelError } from "../base/errors.ts";
import { Profile } from "../gpu/profile.ts";
import { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { DenoiseState } from "../models/cogvideox/model.ts";
import type { LoraInput } from "../pipelines/lora-file.ts";
import { readLatents, writeLatents, type SavedRun } from "../pipelines/latents-file.ts";
import { defined, type TilingMode } from "../pipelines/options.ts";
import type { ReferenceProfile } from "../pipelines/profiles.ts";
import { checkSettings, type Settings } from "../pipelines/settings.ts";
import { taskOf, type TaskInputs } from "../pipelines/task.ts";
import type { Fit } from "../video/fit.ts";
import type { Frame } from "../video/frame.ts";
import { checkOutput, encodeVideo } from "../video/encode.ts";
import { gifWarning } from "../video/gif-delays.ts";
import { visible } from "../base/visible.ts";
import { Attempts } from "./attempts.ts";
import { checkDistinct, checkOutputFile, readInput, writeWhole } from "./files.ts";
import { outputPaths } from "./output-paths.ts";
import { EMBEDDED_MODEL } from "./package-root.ts";
import { hubProgress } from "./terminal/hub-progress.ts";
import { interruptible, Interrupted } from "./terminal/interrupt.ts";
import { print, printPath } from "./terminal/output.ts";
import { Progress } from "./terminal/progress.ts";
import { table } from "./terminal/table.ts";
import { tuningLine } from "./tuning-line.ts";

export interface GenerateCommandOptions extends Partial<Settings> {
  image?: string;
  video?: string;
  control?: string;
  mask?: string;
  strength?: number;
  fit?: Fit;
  samples?: number;
  referenceProfile?: ReferenceProfile;
  tiling?: TilingMode;
  lora?: readonly LoraInput[];
  promptFile?: string;
  negative?: string;
  seed?: number;
  dynamicGuidance?: boolean;
  model?: string;
  variant?: string;
  dtype?: "f32" | "f16";
  adapter?: string;
  out?: string;
  saveLatents?: string;
  latents?: string;
  profile?: string | true;
  checkFinite?: boolean;
}

export async function generateCommand(words: readonly string[], options: GenerateCommandOptions): Promise<void> {
  const {
    promptFile,
    negative,
    seed,
    dynamicGuidance,
    model: folder = EMBEDDED_MODEL,
    variant,
    dtype,
    adapter,
    saveLatents,
    checkFinite,
    ...rest
  } = options;
  const { out: wantedOut, latents: latentsFile, profile: profileFile, image, video, control, mask, ...more } = rest;
  const { samples, strength, fit, referenceProfile, tiling, lora, ...settings } = more;
  if (words.length && promptFile)
    throw new CogwheelError("generate", `a prompt is given as words or with --prompt-file, got both; leave one out`);
  const saved = latentsFile === undefined ? undefined : await readLatents(await readInput(latentsFile), latentsFile);
  const prompt = (promptFile ? await readText(promptFile) : words.join(" ")) || (saved?.settings.prompt ?? "");
  if (prompt.trim() === "")
    throw new CogwheelError(
      "generate",
      `a prompt must say what to show, got nothing; try: npm start -- "a red circle moving left on a black background"`,
    );

  await checkPlaces({ ...options, model: folder, samples: samples ?? saved?.settings.samples ?? 1 });

  using progress = new Progress();
  using interruption = interruptible((text) => progress.note(text));
  const { signal } = interruption;
  await using model = await CogVideoX.open(folder, {
    ...(adapter ? { adapter } : {}),
    ...(dtype ? { dtype } : {}),
    ...(variant ? { variant } : {}),
    hub: { signal, ...hubProgress(progress) },
    onWarning: (message) => progress.note(message),
  });
  const asked: Partial<Settings> = { ...pick(saved?.settings ?? {}), ...settings };
  const limit = asked.frames ?? model.defaults.frames;
  checkSettings({ ...model.defaults, ...asked }, model.rules);
  /** The first frames of a file, no more than are needed. */
  const frames = async (path: string, maxFrames: number): Promise<Frame[]> => {
    const { decodeVideo } = await import("../video/decode.ts");
    return (await decodeVideo(path, { maxFrames, signal, onWarning: (message) => progress.note(message) })).frames;
  };
  const inputs: TaskInputs = {
    ...(image === undefined ? {} : { image: (await frames(image, 1))[0]! }),
    ...(video === undefined ? {} : { video: await frames(video, limit) }),
    ...(control === undefined ? {} : { control: await frames(control, limit) }),
    ...(mask === undefined ? {} : { mask: await frames(mask, limit) }),
    ...defined({ fit }),
  };
  const given = inputs.video ? { strength: strength ?? saved?.settings.strength } : { strength };
  const resumed = saved && saved.state.step > 0 ? saved.state.task : undefined;
  const task = resumed ?? taskOf({ ...inputs, ...defined(given) }, model.rules);
  const merged = model.settingsFor({ ...asked, ...inputs }, task);
  const asWell = defined({
    negative: negative ?? saved?.settings.negative,
    dynamicGuidance: dynamicGuidance ?? saved?.settings.dynamicGuidance,
    samples: samples ?? saved?.settings.samples,
    strength: task === "video" ? (strength ?? saved?.settings.strength) : strength,
    profile: referenceProfile ?? saved?.settings.profile,
  });
  const loras = lora?.map(({ adapter: file, scale = 1 }) => `${basename(String(file))}:${scale}`).join(", ");
  const count = asWell.samples ?? 1;
  if (saved && saved.state.step > 0) checkContinues(saved, { ...merged, ...asWell, ...defined({ loras }) }, latentsFile!);
  model.requirements({ ...merged, ...defined({ samples: asWell.samples, tiling, profile: asWell.profile }), task }); // what cannot be made is refused before anything is printed or written
  const chosenSeed = seed ?? saved?.settings.seed ?? Math.floor(Math.random() * 2 ** 32);
  const out = resolve(wantedOut ?? join("outputs", defaultName(prompt, chosenSeed, merged.frames)));
  const outs = outputPaths(wantedOut ?? out, count);
  for (const path of outs) await checkOutput(path, { frames: merged.frames });
  if (saveLatents) await checkOutputFile(saveLatents, "--save-latents");
  const trace = profileFile === true ? `${out.replace(/\.\w+$/, "")}.trace.json` : profileFile;
  if (trace !== undefined) await checkOutputFile(trace, "--profile");
  const dropped = gifWarning(out, merged.fps);
  if (dropped) progress.note(dropped);
  if (saved) checkLatents(saved, model, merged, latentsFile!);

  print(`${model.gpu.name}${model.gpu.caps.kind === "software" ? " (software)" : ""}, ${model.dtype}`);
  if (model.gpu.advice) print(model.gpu.advice);
  print(
    visible(
      `${merged.width}×${merged.height}, ${merged.frames} ${merged.frames === 1 ? "frame" : `frames at ${merged.fps} a second`}, ${merged.steps} ${merged.scheduler} steps, guidance ${merged.guidance}, seed ${chosenSeed}${count > 1 ? `, ${count} samples` : ""}${task === "text" ? "" : `, from ${image ?? video ?? control ?? "saved latents"}`}`,
    ),
  );

  using profile = profileFile === undefined ? undefined : new Profile(model.gpu);
  let state: DenoiseState | undefined;
  const saveState = async (path: string, reached: DenoiseState) => {
    const [height, width] = [merged.height / model.rules.spatial, merged.width / model.rules.spatial];
    const channels = model.configs.vae.latent_channels;
    const shape = [count, reached.latents.length / (count * channels * height * width), channels, height, width];
    await writeWhole(
      path,
      writeLatents({
        state: reached,
        shape,
        settings: { ...merged, seed: chosenSeed, prompt, ...asWell, ...defined({ loras, task: reached.task }) },
      }),
      "--save-latents",
    );
  };
  const results = new Attempts(signal);
  const written: string[] = [];
  let latentsWritten = false;
  try {
    const made = await model.generate({
      ...merged,
      prompt,
      seed: chosenSeed,
      signal,
      ...inputs,
      ...asWell,
      ...(saved ? { start: saved.state } : {}),
      ...defined({ gpuProfile: profile, checkFinite, tiling, loras: lora }),
      onProgress: (stage, done, detail) => progress.report(stage, done, detail),
      onStep: (reached) => {
        state = reached;
      },
      onWarning: (message) => progress.note(message),
    });
    if (saveLatents) latentsWritten = await results.attempt(() => saveState(saveLatents, made.state));
    for (const [i, path] of outs.entries()) {
      const encode = () =>
        encodeVideo(made.samples[i]!, {
          path,
          fps: merged.fps,
          signal,
          onProgress: (frames) => progress.report("write", (i + frames / (made.frames.length + 1)) / count),
        });
      if (await results.attempt(encode)) written.push(resolve(path));
    }
    progress.report("write", 1);
    print(`\n${progress.summary()}`);
    const peak = peakResidentBytes();
    print(
      `${model.gpu.pipelines.stats.compiled} pipelines compiled in ${(model.gpu.pipelines.stats.ms / 1000).toFixed(1)} s${peak ? `, peak resident memory ${(peak / 1e6).toFixed(0)} MB` : ""}`,
    );
    if (profile) await results.attempt(() => reportProfile(profile, model, trace!));
    for (const path of written) printPath(path);
    results.throwFailures();
  } catch (error) {
    // Hours of work are not thrown away with the error: the latents reached so far can be gone on from.
    if (state && !latentsWritten && written.length < count) {
      const tried = results.failures.length > 0; // to write them where they were asked for
      const path = saveLatents !== undefined && !tried ? saveLatents : `${out.replace(/\.\w+$/, "")}.latents.safetensors`;
      await saveState(path, state).then(
        () => progress.note(`Kept the latents after step ${state!.step} of ${merged.steps}; go on with: --latents ${path}`),
        (failed: Error) => progress.note(`The latents could not be kept: ${failed.message}`),
      );
    }
    throw signal.aborted && signal.reason instanceof Interrupted ? signal.reason : error;
  }
}

async function reportProfile(profile: Profile, model: CogVideoX, path: string): Promise<void> {
  if (!profile.timed) print("This adapter has no timestamps: the profile holds counts and costs alone.");
  print(
    table(
      ["kernel", "chosen", "runs", "ms", "share", "GFLOP/s", "GB/s"],
      profile
        .rows()
        .map((r) => [
          r.label,
          r.chosen,
          String(r.count),
          r.ms.toFixed(1),
          `${(100 * r.share).toFixed(1)} %`,
          r.gflops.toFixed(2),
          r.gbytes.toFixed(2),
        ]),
    ),
  );
  print(tuningLine(model));
  await writeWhole(path, new TextEncoder().encode(profile.chromeTrace()), "--profile");
  print(visible(`Trace for chrome://tracing or ui.perfetto.dev: ${path}`));
}

/** Latents of a step belong to its noise level: only the schedule that they come from goes on from there. */
function checkContinues(
  { state, settings }: SavedRun,
  now: Settings & { strength?: number; samples?: number; loras?: string },
  file: string,
): void {
  if (settings.loras !== now.loras)
    throw new CogwheelError(
      "generate",
      `${file} holds latents of a run with ${settings.loras ? `the adapters ${settings.loras}` : "no adapters"}, got ${now.loras ?? "none"}; give the same --lora`,
    );
  for (const key of ["steps", "scheduler", "strength", "samples"] as const) {
    if (settings[key] !== undefined && settings[key] !== now[key]) {
      throw new CogwheelError(
        "generate",
        `${file} holds latents after step ${state.step} of ${settings.steps} with ${settings.scheduler}, which only that schedule goes on from, got --${key} ${now[key]}; leave it out`,
      );
    }
  }
}

/** Latents must have been made for this model and these sizes. */
function checkLatents({ shape }: SavedRun, model: CogVideoX, s: Settings, file: string): void {
  const want = [model.configs.vae.latent_channels, s.height / model.rules.spatial, s.width / model.rules.spatial];
  if (shape[2] !== want[0] || shape[3] !== want[1] || shape[4] !== want[2]) {
    throw new CogwheelError(
      "generate",
      `${file} must hold latents [1, F, ${want.join(", ")}] for this model and size, got [${shape.join(", ")}]; give the --size they were made for`,
    );
  }
}

function defaultName(prompt: string, seed: number, frames: number): string {
  // A name has at most 255 bytes, and letters have up to four.
  const letters = [...prompt.toLowerCase().replace(/[^\p{L}\p{M}\p{N}]+/gu, "-")].slice(0, 60);
  while (Buffer.byteLength(letters.join("")) > 120) letters.pop();
  return `${letters.join("").replace(/^-|-$/g, "") || "video"}-${seed}.${frames === 1 ? "png" : "mp4"}`;
}

const SETTING_KEYS = ["height", "width", "frames", "fps", "steps", "guidance", "scheduler"] as const;
function pick(settings: SavedRun["settings"]): Partial<Settings> {
  return Object.fromEntries(SETTING_KEYS.filter((k) => settings[k] !== undefined).map((k) => [k, settings[k]]));
}

/** The results that were named must have places of their own, which nothing is read from; latents alone may take that of those that they go on from. */
async function checkPlaces({
  out,
  samples = 1,
  saveLatents,
  profile,
  model,
  image,
  video,
  control,
  mask,
  promptFile,
  lora = [],
}: GenerateCommandOptions): Promise<void> {
  const adapters = lora.map(({ adapter }) => ["--lora", typeof adapter === "string" ? adapter : undefined] as const);
  await checkDistinct(
    [
      ...(out === undefined ? [] : outputPaths(out, samples)).map((path) => ["--out", path] as const),
      ["--save-latents", saveLatents],
      ["--profile", profile === true ? undefined : profile],
    ],
    [
      ["--model", model],
      ["--image", image],
      ["--video", video],
      ["--control", control],
      ["--mask", mask],
      ["--prompt-file", promptFile],
      ...adapters,
    ],
  );
}

/** Bytes of a prompt's file: a model reads some hundred words. */
const PROMPT_LIMIT = 1_000_000;

const readText = async (path: string): Promise<string> => new TextDecoder().decode(await readInput(path, { limit: PROMPT_LIMIT })).trim();
