/**
 * A generation before it is run: the request is checked, completed with defaults, and planned. Command, page, library and `validate` all
 * prepare here. It takes only the configs and the headers of the weights, so what cannot be done is refused before anything is loaded.
 */
import { createScheduler, type StepCoefficients } from "../../diffusion/scheduler.ts";
import { checkState, type DenoiseShape, type DenoiseState } from "../../models/cogvideox/model.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { LoraChange } from "../../models/lora/merge.ts";
import { CogwheelError } from "../../base/errors.ts";
import { expectFloats } from "../../base/finite.ts";
import { checkOptions, defined, type GenerateOptions, type TilingMode } from "../options.ts";
import { expectOption } from "../options/check.ts";
import { switchesOf, type ProfileSwitches } from "../profiles.ts";
import type { StageMemory } from "../requirements.ts";
import type { Settings } from "../settings.ts";
import { checkInputs, DEFAULT_STRENGTH, taskOf, type Task } from "../task.ts";
import { beyondVocabulary } from "../vocabulary.ts";
import { adviceTaken, changesOf, readAdapters } from "./adapters.ts";
import { expectedWeights, type Part, type PartWeights } from "./components.ts";
import type { Draws } from "./draws.ts";
import { refuseIfTooLarge } from "./memory.ts";
import type { Model } from "./model.ts";
import { denoiseShape, latentsShape, settingsFor, stageSizes } from "./sizes.ts";
import type { Planner } from "./planner.ts";
import { stageTimes, withSeconds } from "./seconds.ts";
import type { PlannedStage, StageSizes } from "./stages.ts";

/** A generation that may be run: `CogVideoX.prepare` makes it, `generate` takes it. */
export interface GenerationRequest {
  /** What was asked for; the lists in it are the request's own. */
  readonly options: GenerateOptions;
  /** The seed that was asked for, else one that was drawn. */
  readonly seed: number;
  readonly task: Task;
  /** All settings: what was asked for, completed by the checkpoint's advice. */
  readonly settings: Settings;
  /** How the VAE goes about large pictures. */
  readonly tiling: TilingMode;
  /** What each stage will take on the adapter, in order. */
  readonly requirements: readonly StageMemory[];
  /** The weights that must be there, which were found to be, by component. */
  readonly weights: PartWeights;
  /** Things the user should know beforehand. `generate` tells them where it prepares the request itself. */
  readonly warnings: readonly string[];
  /** The model that it was prepared for, and what its stages go by. */
  readonly model: Model;
  readonly plan: RunPlan;
}

/** What the stages of a run go by. */
export interface RunPlan {
  /** The device that it was planned for. */
  readonly gpu: Gpu;
  readonly stages: readonly PlannedStage[];
  /** What they were planned for. */
  readonly sizes: StageSizes;
  readonly switches: ProfileSwitches;
  readonly shape: DenoiseShape;
  /** Bytes of the adapter's memory that it was planned within; undefined where there is no limit. */
  readonly limit: number | undefined;
  /** The steps that are run; of a run from a video the last ones of the schedule. */
  readonly steps: readonly StepCoefficients[];
  /** How a clean video is brought to where the first step begins. */
  readonly addNoise: { readonly original: number; readonly noise: number };
  /** What was given to begin from: noise, or the state of a run that goes on. */
  readonly given: DenoiseState | undefined;
  readonly loras: ReadonlyMap<string, readonly LoraChange[]> | undefined;
  readonly ready: ReadyInputs | undefined;
  /** Is the prompt all that is computed? */
  readonly promptOnly: boolean;
}

/**
 * What a run is handed in place of what it would read, encode or draw itself: so a run
 * that another implementation recorded is repeated.
 */
export interface ReadyInputs {
  readonly task: Task;
  /** [n, T, E], with guidance [2n, T, E] with the negative prompts first. No text encoder is loaded. */
  readonly text: { readonly data: Float32Array; readonly length: number };
  /** Pixels [1, 3, frames, H, W] in −1…1: one picture or video for all samples, or one for each. */
  readonly frames?: { readonly count: number; readonly pixels: readonly Float32Array[] };
  readonly draws: Draws;
}

/** The options with lists of their own, checked by themselves: what is changed in the caller's later is for the next request. */
export function ownOptions(options: GenerateOptions): GenerateOptions {
  checkOptions(options);
  const { video, control, mask, loras } = options;
  const own = <T>(list: readonly T[] | undefined): readonly T[] | undefined => (Array.isArray(list) ? [...list] : list);
  return {
    ...options,
    ...defined({ video: own(video), control: own(control), mask: own(mask), loras: loras?.map((lora) => ({ ...lora })) }),
  };
}

/** @param options as `ownOptions` gives them @param promptOnly nothing but the prompt is to be encoded */
export async function prepare(
  model: Model,
  planner: Planner,
  options: GenerateOptions,
  { ready, promptOnly = false }: { ready?: ReadyInputs; promptOnly?: boolean } = {},
): Promise<GenerationRequest> {
  if (options.start !== undefined) checkStart(options.start);
  const given: DenoiseState | undefined =
    options.start instanceof Float32Array ? { step: 0, latents: options.start, givenNoise: true } : options.start;
  // A run that goes on brings what its frames gave along, and needs them no more.
  const resumed = given && given.step > 0 && given.task ? given.task : undefined;
  const task = resumed ?? ready?.task ?? taskOf(options, model.rules);
  settingsFor(model, options, task); // what is wrong by itself is refused before an adapter is read
  const adapters = await readAdapters(model, options.loras);
  const settings = settingsFor(
    model,
    options,
    task,
    adapters.map(({ advice = {} }) => advice),
  );
  if (!resumed && !ready && !promptOnly) checkInputs(options, task, settings.frames);
  const switches = switchesOf(options.profile);
  const { share } = options;
  const whole = denoiseShape(model, settings, options.samples ?? 1, switches);
  const shape = {
    ...whole,
    ...(ready ? { textLength: ready.text.length } : {}),
    ...(share?.partner && whole.guidance ? { separate: true } : {}),
  };
  const scheduler = createScheduler(model.files.scheduler, settings.scheduler);
  const steps = scheduler.steps(
    settings.timesteps ?? settings.steps,
    task === "video" ? firstStep(settings.steps, options.strength ?? DEFAULT_STRENGTH) : 0,
  );
  if (given) checkState(given, latentsShape(model, shape), steps);
  if (share)
    (await import("./share.ts")).checkShare(share, [shape.guidance ? 2 : 1, shape.textLength, model.configs.text.d_model], options.samples);
  const sizes = {
    ...stageSizes(model, settings, shape, task),
    ...whatIsLeft(given, steps, ready),
    ...(share?.promptEmbeds ? { prompt: false } : {}),
    ...(share?.latentsOnly ? { decodedLatents: 0 } : {}),
    ...(promptOnly ? { prompt: true, encodedFrames: 0, steps: false, decodedLatents: 0 } : {}),
  };
  const weights = expectedWeights(
    model.configs,
    ...partsOf(sizes, ready !== undefined, !promptOnly && options.preview === true && sizes.steps),
  );
  model.files.expect(weights);
  const planned = planner.plan(model, sizes, options.tiling, options.memoryBytes, share?.clips);
  refuseIfTooLarge(model, planned);
  const { tiling, stages, limit } = planned;
  const runs = { steps: steps.length - (given?.step ?? 0), samples: options.samples ?? 1 };
  const requirements = withSeconds(planned.requirements, model.rates && stageTimes(model, planned, sizes, runs, model.rates));
  const apart = requirements.some((stage) => stage.apart);
  return {
    options,
    seed: options.seed ?? Math.floor(Math.random() * 2 ** 32),
    task,
    settings,
    tiling,
    requirements,
    weights,
    warnings: [
      ...promptAdvice(model, options),
      ...adapters.flatMap((adapter) => adviceTaken(adapter, options, settings)),
      ...(tiling === "exact" && !options.tiling
        ? [
            `[generate] ${settings.width} × ${settings.height} is too large for the VAE on this adapter at once: ` +
              "it works part by part through the host's memory, with the same result",
          ]
        : []),
    ],
    model,
    plan: {
      gpu: model.gpu,
      stages,
      sizes,
      limit,
      switches,
      shape: apart ? { ...shape, apart } : shape,
      steps,
      addNoise: scheduler.addNoise(steps[0]!.timestep),
      given,
      loras: await changesOf(model, adapters),
      ready,
      promptOnly,
    },
  };
}

/** Of a prompt that the model does not know, unless an adapter may have taught it more, or nothing is to be encoded. */
function promptAdvice({ vocabulary }: Model, { prompt, loras, start }: GenerateOptions): string[] {
  const told = vocabulary && !loras?.length && start === undefined ? beyondVocabulary(prompt, vocabulary) : undefined;
  return told === undefined ? [] : [`[generate] ${told}`];
}

/** The components whose weights these stages load, and what the VAE does. @param colours are there previews? */
function partsOf(sizes: StageSizes, handed: boolean, colours: boolean): [names: Part[], vaeParts: ("encode" | "decode")[]] {
  const vaeParts: ("encode" | "decode")[] = [];
  if (sizes.encodedFrames || colours) vaeParts.push("encode");
  if (sizes.decodedLatents) vaeParts.push("decode");
  const names: Part[] = [];
  if (sizes.prompt && !handed) names.push("text_encoder");
  if (sizes.steps) names.push("transformer");
  if (vaeParts.length) names.push("vae");
  return [names, vaeParts];
}

/** Stages that a run need not load: what was done before it, and what is handed to it. */
function whatIsLeft(
  given: DenoiseState | undefined,
  { length }: readonly StepCoefficients[],
  ready: ReadyInputs | undefined,
): Partial<StageSizes> {
  if (given?.step === length) return { prompt: false, encodedFrames: 0, steps: false };
  if (ready) return { prompt: false, encodedFrames: ready.frames?.count ?? 0 };
  return given?.step ? { encodedFrames: 0 } : {};
}

/** What a caller gives to go on from. */
function checkStart(start: Float32Array | DenoiseState): void {
  if (ArrayBuffer.isView(start) || Array.isArray(start)) {
    expectFloats(start, "generate", "start");
    return;
  }
  if (typeof start !== "object" || start === null)
    throw new CogwheelError(
      "generate",
      `start must be a Float32Array of noise or the state of a run, got ${String(start)}; leave it out for a draw from the seed`,
    );
  for (const name of ["latents", "original", "condition"] as const)
    if (name === "latents" || start[name] !== undefined) expectFloats(start[name], "generate", `${name} of start`);
}

/** Which steps a run from a video takes: the last `strength` of them. */
function firstStep(steps: number, strength: number): number {
  expectOption("strength", strength);
  const kept = Math.min(Math.trunc(steps * strength), steps);
  if (kept < 1) throw new CogwheelError("generate", `steps × strength must be at least 1, got ${steps} × ${strength}; ask for more steps`);
  return steps - kept;
}
