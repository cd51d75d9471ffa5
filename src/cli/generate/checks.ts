/** What the command refuses before any work: results in each other's place or where they cannot be written, and latents of another run. */
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { visible } from "../../base/visible.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { SavedRun } from "../../pipelines/latents-file.ts";
import { adapterNames } from "../../pipelines/made-with.ts";
import type { GenerateOptions } from "../../pipelines/options.ts";
import { FIXED, type SavedSettings } from "../../pipelines/options/saved.ts";
import type { OptionName } from "../../pipelines/options/table.ts";
import type { Settings } from "../../pipelines/settings.ts";
import { checkOutput } from "../../video/encode.ts";
import { checkDistinct, checkOutputFile, type Named } from "../files.ts";
import { isPiped, outputPaths, pipedFormat } from "../output-paths.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import { flagName, framePaths, pathOf, type Asked } from "./asked.ts";

/** An option as it is named on the command line. */

/**
 * The results that were named must have places of their own, which nothing is read from; latents
 * alone may take that of those that they go on from.
 */
export async function checkPlaces(asked: Asked): Promise<void> {
  const { given, own, saved } = asked;
  const { out, saveLatents, report, model = EMBEDDED_MODEL } = own;
  const named = (name: OptionName): Named => [flagName(name), pathOf(asked, name)];
  for (const { adapter } of given.loras ?? [])
    if (typeof adapter === "string" && /^[^:]+\.(safetensors|gguf)$/.test(adapter) && !existsSync(adapter))
      throw new CogwheelError("lora", `${adapter} must be a file that can be read, got no such file; check the path given with --lora`);
  const count = given.samples ?? saved?.settings.samples ?? 1;
  await checkDistinct(
    [
      ...(out === undefined || isPiped(out) ? [] : outputPaths(out, count)).map((path) => ["--out", path] as const),
      ["--save-latents", saveLatents],
      ["--report", report],
      named("gpuProfile"),
    ],
    [
      ["--model", model],
      ["--transformer", own.transformer],
      ["--text-encoder", own.textEncoder],
      ["--vae", own.vae],
      ...framePaths(asked).map(([name]) => named(name)),
      named("prompt"),
      ...(given.loras ?? []).map(({ adapter }) => [flagName("loras"), typeof adapter === "string" ? adapter : undefined] as const),
    ],
  );
}

/** Everything that is to be written can be. @param named did the user say where the videos go? */
export async function checkWritable(
  outs: readonly string[],
  frames: number,
  {
    named,
    saveLatents,
    report,
    trace,
    clobber = true,
  }: Record<"saveLatents" | "report" | "trace", string | undefined> & { named: boolean; clobber?: boolean },
  say: (text: string) => void,
): Promise<void> {
  for (const path of outs.filter((one) => !isPiped(one) && existsSync(one))) {
    if (!clobber)
      throw new CogwheelError("output", `--no-clobber keeps what is there, got ${path} for --out; choose another name, or leave it out`);
    say(visible(`${path} is there, and will be replaced.`));
  }
  for (const path of outs) if (!pipedFormat(path, frames)) await checkOutput(path, { frames });
  if (saveLatents !== undefined) await checkOutputFile(saveLatents, "--save-latents");
  if (report !== undefined) await checkOutputFile(report, "--report");
  if (trace !== undefined) await checkOutputFile(trace, flagName("gpuProfile"));
  if (!named) return; // a user's own folder may be misspelt
  const folders = outs.filter((one) => !isPiped(one)).map((one) => dirname(resolve(one)));
  for (const folder of new Set(folders)) if (!existsSync(folder)) say(visible(`The folder ${folder} is not there, and will be made.`));
}

/** Latents must have been made for this model and these sizes, and after some steps with this schedule and these adapters. */
export function checkSaved(
  saved: SavedRun & { readonly file: string },
  model: CogVideoX,
  options: GenerateOptions,
  settings: Settings,
): void {
  if (saved.state.step > 0) checkContinues(saved, { ...options, ...settings, loras: adapterNames(options.loras) });
  const want = [model.configs.vae.latent_channels, settings.height / model.rules.spatial, settings.width / model.rules.spatial];
  if (want.some((size, i) => saved.shape[i + 2] !== size))
    throw new CogwheelError(
      "generate",
      `${saved.file} must hold latents [1, F, ${want.join(", ")}] for this model and size, ` +
        `got [${saved.shape.join(", ")}]; give the --size they were made for`,
    );
}

/** Latents of a step belong to its noise level: only the schedule that they come from goes on from there. */
function checkContinues({ state, settings, file }: SavedRun & { readonly file: string }, now: SavedSettings): void {
  if (settings.loras !== now.loras)
    throw new CogwheelError(
      "generate",
      `${file} holds latents of a run with ${settings.loras ? `the adapters ${settings.loras}` : "no adapters"}, ` +
        `got ${now.loras ?? "none"}; give the same ${flagName("loras")}`,
    );
  for (const name of FIXED) {
    const [had, has] = [settings[name as keyof SavedSettings], now[name as keyof SavedSettings]];
    // A file without timesteps is one of evenly spaced ones; what else it lacks an older version did not keep.
    if ((had !== undefined || name === "timesteps") && String(had) !== String(has))
      throw new CogwheelError(
        "generate",
        `${file} holds latents after step ${state.step} of ${settings.steps} with ${settings.scheduler}, ` +
          `which only that schedule goes on from, got ${flagName(name)} ${has}; leave it out`,
      );
  }
}
