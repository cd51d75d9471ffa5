/** The work of `cogwheel generate`: read what is asked, prepare, generate, write. */
import { resolve } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import type { EnhancedPrompt } from "../../curation/enhance/enhance.ts";
import { Profile } from "../../gpu/profile.ts";
import type { DenoiseState } from "../../models/cogvideox/model.ts";
import { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { GenerationRequest } from "../../pipelines/cogvideox/request.ts";
import { defined, type GenerateOptions } from "../../pipelines/options.ts";
import { checkSettings, completed, settingsOf, type Settings } from "../../pipelines/settings.ts";
import type { Video } from "../../pipelines/video.ts";
import { gifWarning } from "../../video/gif-delays.ts";
import { Attempts } from "../attempts.ts";
import { componentInputs } from "../component-inputs.ts";
import type { Flags } from "../flags.ts";
import { isPiped, outputPaths } from "../output-paths.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import { hubProgress } from "../terminal/hub-progress.ts";
import { interruptible, Interrupted } from "../terminal/interrupt.ts";
import { GenerateReport } from "./report.ts";
import { print, printJson, printPath } from "../terminal/output.ts";
import { Progress } from "../terminal/progress.ts";
import { framePaths, optionsFrom, readAsked, readFrames, withPreset, type Asked, type GenerateFlags } from "./asked.ts";
import { enhanced, sayEnhanced, saveEnhanced } from "./enhanced.ts";
import { forecastRates, sayForecast } from "./forecast.ts";
import type { GenerateWork } from "./work.ts";
import { checkPlaces, checkSaved, checkWritable } from "./checks.ts";
import { defaultOutput, printPlan, sayRequest, saySummary, reportProfile, saveState, writeVideos } from "./results.ts";
import { madeJson, requestJson } from "./json.ts";
import { otherWeights, weightsOf } from "./weights.ts";

export async function generateToFile(words: readonly string[], flags: Flags<GenerateFlags>): Promise<void> {
  const asked = await readAsked(words, flags);
  await checkPlaces(asked);
  if (isPiped(asked.own.out ?? "")) refusePiped(asked.own);
  using progress = progressOf(asked.own);
  using interruption = interruptible((text) => progress.note(text));
  const { signal } = interruption;
  await using model = await openModel(asked.own, { progress, signal });
  await generateOne(asked, { model, progress, signal });
}

/** How progress is shown. */
export const progressOf = ({ progress = "bar", quiet }: GenerateFlags): Progress =>
  new Progress({ mode: quiet && progress === "bar" ? "none" : progress });

/** Opens the model that is asked for. */
export async function openModel(own: GenerateFlags, { progress, signal }: Omit<GenerateWork, "model">, keep = false): Promise<CogVideoX> {
  const { model: folder = EMBEDDED_MODEL, adapter, dtype, variant } = own;
  return await CogVideoX.open(folder, {
    keep,
    ...defined({ adapter, dtype, variant }),
    ...(await componentInputs(own)),
    hub: { signal, ...hubProgress(progress) },
    onWarning: (message) => progress.note(message),
  });
}

/** Standard output holds one thing. */
function refusePiped({ json, plan, dryRun }: GenerateFlags): void {
  if (json || plan || dryRun)
    throw new CogwheelError(
      "generate",
      "standard output takes the video or what is told of it, got --out - with --json or --plan; leave one out",
    );
  if (process.stdout.isTTY)
    throw new CogwheelError("generate", "a video goes to a pipe or a file, got --out - on a terminal; give --out a name");
}

/** Makes one request's videos, and tells them on standard output. Resolves to the paths. */
export async function generateOne(wanted: Asked, work: GenerateWork): Promise<readonly string[]> {
  const { model, progress, signal } = work;
  const asked = withPreset(wanted, model.defaults);
  const note = (message: string): void => progress.note(message);
  const say = (text: string): void => progress.say(text);
  const given = await readOptions(asked, work);
  const rewritten = await enhanced(asked, given, model, { signal, onWarning: note });
  const options = rewritten ? { ...given, prompt: rewritten.prompt } : given;
  using profile = asked.files.gpuProfile === undefined && asked.own.report === undefined ? undefined : new Profile(model.gpu);
  const report = asked.own.report === undefined ? undefined : new GenerateReport(model, asked.own.report, profile);
  let state: DenoiseState | undefined;
  const request = await model.prepare({
    ...options,
    ...defined({ gpuProfile: profile, preview: report && true }),
    signal,
    onProgress: (stage, done, detail, all) => {
      report?.progress(stage, done);
      progress.report(stage, done, detail, all);
    },
    onStep: (reached) => {
      state = reached;
    },
    onWarning: (warning) => {
      report?.warnings.push(warning);
      note(warning);
    },
  });
  for (const warning of request.warnings) request.options.onWarning!(warning);

  const { json, plan, dryRun, saveLatents } = asked.own;
  if (plan) return await tellPlan(asked, request, work, rewritten);
  const named = asked.own.out ?? defaultOutput(request);
  const out = isPiped(named) ? resolve(defaultOutput(request)) : resolve(named);
  const outs = outputPaths(named, options.samples ?? 1);
  const { gpuProfile } = asked.files;
  const trace = gpuProfile === true ? `${out.replace(/\.\w+$/, "")}.trace.json` : gpuProfile;
  await checkWritable(
    outs,
    request.settings.frames,
    { named: asked.own.out !== undefined, saveLatents, report: asked.own.report, trace, ...defined({ clobber: asked.own.clobber }) },
    say,
  );
  const dropped = gifWarning(named, request.settings.fps);
  if (dropped) note(dropped);
  if (dryRun) return await tellPlan(asked, request, work, rewritten);
  if (rewritten) sayEnhanced(rewritten, say);
  sayRequest(say, model, request, inputName(asked));
  await sayForecast(request, work, asked.own.quiet);
  const others = asked.again?.weights === undefined ? undefined : otherWeights(asked.again, await weightsOf(model, signal));
  if (others) note(others);

  const results = new Attempts(signal);
  let made: Video | undefined;
  let written: string[] = [];
  let latentsWritten = false;
  try {
    // Read while the adapter computes. A video that is made is not lost for want of it.
    const digest = asked.own.metadata === false && !json ? undefined : weightsOf(model, signal).catch(() => undefined);
    const run = model.generate(request);
    await report?.follow(run);
    const video = await run;
    made = video;
    if (saveLatents) latentsWritten = await results.attempt(() => saveState(saveLatents, video.state, model, request));
    const weights = await digest;
    const madeWith = asked.own.metadata === false ? {} : { made: { ...video.made, ...defined({ weights }) } };
    written = await writeVideos(video, outs, { results, ...work, ...madeWith });
    saySummary(model, progress);
    if (profile && trace !== undefined) await results.attempt(() => reportProfile(profile, model, trace, say));
    if (report) await results.attempt(() => report.write(request, video, written));
    if (rewritten && written[0]) await results.attempt(() => saveEnhanced(rewritten, written[0]!, request.seed));
    if (json) {
      const told = madeJson(model, video, { files: written, latents: latentsWritten ? saveLatents : undefined, weights });
      printJson({ ...requestJson(model, request), ...told, ...defined({ enhanced: rewritten }) }, { lines: !work.inBatch });
    } else for (const path of written) if (!isPiped(path)) printPath(path);
    results.throwFailures();
    return written;
  } catch (error) {
    // What there was of a run that failed is what its report is wanted for.
    if (report && !made) await report.write(request, undefined, [], error as Error).catch((failed: Error) => note(failed.message));
    if (state && !latentsWritten && written.length < outs.length) {
      const tried = results.failures.length > 0; // to write them where they were asked for
      const path = saveLatents !== undefined && !tried ? saveLatents : `${out.replace(/\.\w+$/, "")}.latents.safetensors`;
      await keepState(path, state, request, work);
    }
    throw signal.aborted && signal.reason instanceof Interrupted ? signal.reason : error;
  }
}

/** Prints what a request will take: it is the result, so it goes to standard output. */
async function tellPlan(
  asked: Asked,
  request: GenerationRequest,
  work: GenerateWork,
  rewritten: EnhancedPrompt | undefined,
): Promise<readonly string[]> {
  const { model } = work;
  const known = await forecastRates(request, work);
  if (asked.own.json) printJson({ ...requestJson(model, request, known), ...defined({ enhanced: rewritten }) });
  else {
    if (rewritten) sayEnhanced(rewritten, print);
    printPlan(model, request, inputName(asked), known);
  }
  return [];
}

const inputName = (asked: Asked): string => framePaths(asked)[0]?.[1] ?? "saved latents";

/** The settings that are asked for, as far as they are known before a film or an adapter is read; refused where the model cannot do them. */
export function checkedSettings(wanted: Asked, model: CogVideoX): Settings {
  const asked = withPreset(wanted, model.defaults);
  const settings = completed(model.defaults, { ...settingsOf((asked.saved ?? asked.again)?.settings ?? {}), ...settingsOf(asked.given) });
  checkSettings(settings, model.rules);
  return settings;
}

/** The options with the frames that are named. */
async function readOptions(asked: Asked, { model, progress, signal }: GenerateWork): Promise<GenerateOptions> {
  const settings = checkedSettings(asked, model);
  const inputs = await readFrames(asked, settings.frames, { signal, onWarning: (message) => progress.note(message) });
  const options = optionsFrom(asked, inputs, model.rules);
  if (asked.saved) checkSaved(asked.saved, model, options, settings);
  return options;
}

/** Hours of work are not thrown away with an error: the latents reached so far can be gone on from. */
async function keepState(path: string, state: DenoiseState, request: GenerationRequest, { model, progress }: GenerateWork): Promise<void> {
  await saveState(path, state, model, request).then(
    () => progress.note(`Kept the latents after step ${state.step} of ${request.settings.steps}; go on with: --latents ${path}`),
    (failed: Error) => progress.note(`The latents could not be kept: ${failed.message}`),
  );
}
