/** The work of `cogwheel generate`: read what is asked, prepare, generate, write. */
import { resolve } from "node:path";
import { Profile } from "../../gpu/profile.ts";
import type { DenoiseState } from "../../models/cogvideox/model.ts";
import { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { GenerationRequest } from "../../pipelines/cogvideox/request.ts";
import { defined, type GenerateOptions } from "../../pipelines/options.ts";
import { checkSettings, completed, settingsOf } from "../../pipelines/settings.ts";
import { gifWarning } from "../../video/gif-delays.ts";
import { ratesUnlessOff } from "../../tuning/rates.ts";
import { Attempts } from "../attempts.ts";
import { componentInputs } from "../component-inputs.ts";
import type { Flags } from "../flags.ts";
import { outputPaths } from "../output-paths.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import { hubProgress } from "../terminal/hub-progress.ts";
import { interruptible, Interrupted } from "../terminal/interrupt.ts";
import { printJson, printPath } from "../terminal/output.ts";
import { Progress } from "../terminal/progress.ts";
import { framePaths, optionsFrom, readAsked, readFrames, type Asked, type GenerateFlags } from "./asked.ts";
import { enhanced, printEnhanced, saveEnhanced } from "./enhanced.ts";
import { checkPlaces, checkSaved, checkWritable } from "./checks.ts";
import { defaultOutput, printPlan, printRequest, printSummary, reportProfile, saveState, writeVideos } from "./results.ts";
import { madeJson, requestJson } from "./json.ts";

/** What the parts of the work share. */
interface Work {
  readonly model: CogVideoX;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export async function generateToFile(words: readonly string[], flags: Flags<GenerateFlags>): Promise<void> {
  const asked = await readAsked(words, flags);
  await checkPlaces(asked);
  using progress = new Progress();
  const note = (message: string): void => progress.note(message);
  using interruption = interruptible(note);
  const { signal } = interruption;
  const { model: folder = EMBEDDED_MODEL, adapter, dtype, variant } = asked.own;
  await using model = await CogVideoX.open(folder, {
    ...defined({ adapter, dtype, variant }),
    ...(await componentInputs(asked.own)),
    hub: { signal, ...hubProgress(progress) },
    onWarning: note,
  });
  const work = { model, progress, signal };
  const given = await readOptions(asked, work);
  const rewritten = await enhanced(asked, given, model, { signal, onWarning: note });
  const options = rewritten ? { ...given, prompt: rewritten.prompt } : given;
  using profile = asked.files.gpuProfile === undefined ? undefined : new Profile(model.gpu);
  let state: DenoiseState | undefined;
  const request = await model.prepare({
    ...options,
    ...defined({ gpuProfile: profile }),
    signal,
    onProgress: (stage, done, detail) => progress.report(stage, done, detail),
    onStep: (reached) => {
      state = reached;
    },
    onWarning: note,
  });
  for (const warning of request.warnings) note(warning);

  const { plan: planOnly, json } = asked.own;
  if (planOnly) {
    const rates = await ratesUnlessOff(model, { signal, onProgress: (done, what) => progress.report("probe", done, what) });
    if (rewritten && !json) printEnhanced(rewritten);
    return json
      ? printJson({ ...requestJson(model, request, rates), ...defined({ enhanced: rewritten }) })
      : printPlan(model, request, inputName(asked), rates);
  }

  const out = resolve(asked.own.out ?? defaultOutput(request));
  const outs = outputPaths(asked.own.out ?? out, options.samples ?? 1);
  const { gpuProfile } = asked.files;
  const trace = gpuProfile === true ? `${out.replace(/\.\w+$/, "")}.trace.json` : gpuProfile;
  const { saveLatents } = asked.own;
  await checkWritable(outs, request.settings.frames, { saveLatents, trace });
  const dropped = gifWarning(out, request.settings.fps);
  if (dropped) note(dropped);
  if (rewritten && !json) printEnhanced(rewritten);
  if (!json) printRequest(model, request, inputName(asked));

  const results = new Attempts(signal);
  let written: string[] = [];
  let latentsWritten = false;
  try {
    const made = await model.generate(request);
    if (saveLatents) latentsWritten = await results.attempt(() => saveState(saveLatents, made.state, model, request));
    written = await writeVideos(made, outs, { results, ...work, ...defined({ metadata: asked.own.metadata }) });
    if (!json) printSummary(model, progress);
    if (profile) await results.attempt(() => reportProfile(profile, model, trace!, json));
    if (rewritten && written[0]) await results.attempt(() => saveEnhanced(rewritten, written[0]!, request.seed));
    if (json) {
      const told = madeJson(model, made, written, latentsWritten ? saveLatents : undefined);
      printJson({ ...requestJson(model, request), ...told, ...defined({ enhanced: rewritten }) });
    } else for (const path of written) printPath(path);
    results.throwFailures();
  } catch (error) {
    if (state && !latentsWritten && written.length < outs.length) {
      const tried = results.failures.length > 0; // to write them where they were asked for
      const path = saveLatents !== undefined && !tried ? saveLatents : `${out.replace(/\.\w+$/, "")}.latents.safetensors`;
      await keepState(path, state, request, work);
    }
    throw signal.aborted && signal.reason instanceof Interrupted ? signal.reason : error;
  }
}

const inputName = (asked: Asked): string => framePaths(asked)[0]?.[1] ?? "saved latents";

/** The options with the frames that are named. Settings that the model cannot do are refused before a film is read. */
async function readOptions(asked: Asked, { model, progress, signal }: Work): Promise<GenerateOptions> {
  const settings = completed(model.defaults, { ...settingsOf((asked.saved ?? asked.again)?.settings ?? {}), ...settingsOf(asked.given) });
  checkSettings(settings, model.rules);
  const inputs = await readFrames(asked, settings.frames, { signal, onWarning: (message) => progress.note(message) });
  const options = optionsFrom(asked, inputs, model.rules);
  if (asked.saved) checkSaved(asked.saved, model, options, settings);
  return options;
}

/** Hours of work are not thrown away with an error: the latents reached so far can be gone on from. */
async function keepState(path: string, state: DenoiseState, request: GenerationRequest, { model, progress }: Work): Promise<void> {
  await saveState(path, state, model, request).then(
    () => progress.note(`Kept the latents after step ${state.step} of ${request.settings.steps}; go on with: --latents ${path}`),
    (failed: Error) => progress.note(`The latents could not be kept: ${failed.message}`),
  );
}
