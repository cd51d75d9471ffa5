/** What the command is asked for: words and options, the files that are named, and what a saved run was asked for. */
import { fstatSync } from "node:fs";
import { CogwheelError } from "../../base/errors.ts";
import type { SavedRun } from "../../pipelines/latents-file.ts";
import { readLatents } from "../../pipelines/read-latents.ts";
import { defined, type GenerateOptions } from "../../pipelines/options.ts";
import { type SavedSettings, takenUp } from "../../pipelines/options/saved.ts";
import { OPTION_LIST, optionOf, type OptionName } from "../../pipelines/options/table.ts";
import type { ModelRules, Settings } from "../../pipelines/settings.ts";
import { type Task, taskOf, type TaskInputs } from "../../pipelines/task.ts";
import type { ProgressMode } from "../terminal/progress.ts";
import type { Frame } from "../../video/frame.ts";
import { readInput, readStandardInput } from "../files.ts";
import type { ModelDeviceFlags, Flags, ModelFlags } from "../flags.ts";
import { type Preset, presetSteps } from "./preset.ts";

/** What is the command's own: which model, and where results go. */
export interface GenerateFlags extends ModelDeviceFlags, ModelFlags {
  out?: string;
  clobber?: boolean;
  again?: string;
  batch?: string;
  preset?: Preset;
  metadata?: boolean;
  saveLatents?: string;
  report?: string;
  enhance?: string;
  enhanceModel?: string;
  plan?: boolean;
  dryRun?: boolean;
  json?: boolean;
  progress?: ProgressMode;
  quiet?: boolean;
}

/** What a result was made with. */
export interface Again {
  readonly file: string;
  readonly settings: SavedSettings;
  readonly model?: string;
  readonly weights?: string;
}

export interface Asked extends Flags<GenerateFlags> {
  readonly prompt: string;
  /** The run to start from or go on with, and the file that it was read from. */
  readonly saved: (SavedRun & { readonly file: string }) | undefined;
  /** The settings of a result that is to be made once more, and its file. */
  readonly again: Again | undefined;
}

/** Reads the prompt and the saved latents. */
export async function readAsked(words: readonly string[], flags: Flags<GenerateFlags>): Promise<Asked> {
  const promptFile = pathOf(flags, "prompt");
  if (words.length && promptFile)
    throw new CogwheelError("generate", "a prompt is given as words or with --prompt-file, got both; leave one out");
  const file = pathOf(flags, "start");
  const saved = file === undefined ? undefined : { ...(await readLatents(await readInput(file), file)), file };
  const again = flags.own.again === undefined ? undefined : await readAgain(flags.own.again);
  if (again && saved)
    throw new CogwheelError(
      "generate",
      `a run goes on, or one is made again, got --latents ${file} and --again ${again.file}; leave one out`,
    );
  const prompt = (await readPrompt(words, promptFile, !saved && !again)) || (saved ?? again)?.settings.prompt || "";
  if (prompt.trim() === "")
    throw new CogwheelError(
      "generate",
      'a prompt must say what to show, got nothing; try: `cogwheel "a red circle moving left on a black background"`',
    );
  if (flags.own.enhance !== undefined && saved && saved.state.step > 0)
    throw new CogwheelError("generate", `a run that goes on keeps its prompt, got --enhance with ${file} of some steps; leave it out`);
  return { ...flags, prompt, saved, again };
}

/** With the preset's steps, of a model whose own are `steps`; those that are given by number stay. */
export function withPreset(asked: Asked, { steps }: Pick<Settings, "steps">): Asked {
  const { preset } = asked.own;
  if (!preset) return asked;
  const other = asked.saved ? "--latents" : asked.given.timesteps ? "--timesteps" : undefined;
  if (other)
    throw new CogwheelError("generate", `--preset says how many steps are made, got --preset ${preset} and ${other}; leave one out`);
  return { ...asked, given: { steps: presetSteps(preset, steps), ...asked.given } };
}

export const flagName = (name: OptionName): string => optionOf(name).flag!.split(" ")[0]!;

const INPUT_OF: Readonly<Record<Task, string>> = {
  text: "a prompt alone",
  image: "a picture",
  video: "a video",
  control: "a control video",
  inpaint: "a video and a mask",
};

/** The path that an option was named with. */
export function pathOf({ files }: Pick<Asked, "files">, name: OptionName): string | undefined {
  const path = files[name];
  return typeof path === "string" ? path : undefined;
}

/** Pictures and films, by the option that they are for, in the order of the table. */
export const framePaths = (asked: Pick<Asked, "files">): (readonly [OptionName, string])[] =>
  OPTION_LIST.flatMap(([name, { values }]) => {
    const path = values.kind === "frame" || values.kind === "frames" ? pathOf(asked, name) : undefined;
    return path === undefined ? [] : [[name, path] as const];
  });

/** The frames that are named: the first one, or no more than `limit`. */
export async function readFrames(
  asked: Asked,
  limit: number,
  { signal, onWarning }: { signal: AbortSignal; onWarning: (message: string) => void },
): Promise<TaskInputs> {
  const inputs: Partial<Record<OptionName, Frame | readonly Frame[]>> = {};
  for (const [name, path] of framePaths(asked)) {
    const { decodeVideo } = await import("../../video/decode.ts");
    const one = optionOf(name).values.kind === "frame";
    const { frames } = await decodeVideo(path, { maxFrames: one ? 1 : limit, signal, onWarning });
    inputs[name] = one ? frames[0]! : frames;
  }
  return inputs as TaskInputs;
}

/** Everything that `prepare` is to know: what is given, and what a run that goes on takes of the one before. */
export function optionsFrom({ prompt, given, saved, again }: Asked, inputs: TaskInputs, rules: ModelRules): GenerateOptions {
  if (again) return { ...settingsAgain(again, taskOf(inputs, rules), given), ...given, ...inputs, prompt };
  if (!saved) return { ...given, ...inputs, prompt };
  const resumed = saved.state.step > 0 ? saved.state.task : undefined;
  const task = resumed ?? taskOf(inputs, rules);
  return { ...takenUp(saved.settings, task), ...given, ...inputs, prompt, start: saved.state };
}

/** Options of a result that is made again; its inputs and adapters are not in it, and must be given once more. */
function settingsAgain({ file, settings }: Again, task: Task, given: Partial<GenerateOptions>): Omit<SavedSettings, "loras" | "task"> {
  if (settings.task !== undefined && settings.task !== task)
    throw new CogwheelError(
      "generate",
      `${file} was made from ${INPUT_OF[settings.task]}, got ${INPUT_OF[task]}; give the files that it was made from`,
    );
  if (settings.loras && !given.loras?.length)
    throw new CogwheelError(
      "generate",
      `${file} was made with the adapters ${settings.loras}, got none; give them with ${flagName("loras")}`,
    );
  return takenUp(settings, task);
}

/** From the comment of a film or a picture, or from saved latents. */
async function readAgain(file: string): Promise<Again> {
  const bytes = await readInput(file);
  const { madeWith } = await import("../../pipelines/made-with-file.ts");
  const made = madeWith(bytes, file);
  if (made) {
    const { model, weights, ...settings } = made;
    return { file, settings, ...defined({ model, weights }) };
  }
  if (/\.safetensors$/i.test(file)) return { file, settings: (await readLatents(bytes, file)).settings };
  throw new CogwheelError(
    "generate",
    `--again takes a video or a picture that says what it was made with, or saved latents, got ${file}, which says nothing ` +
      "(a GIF and what other programs have written anew do not); give the options themselves",
  );
}

/** Words, what a file holds, or what comes by standard input: where that is asked for, or a pipe or a file is all that there is. */
async function readPrompt(words: readonly string[], file: string | undefined, needed: boolean): Promise<string> {
  if (file !== undefined) return await readText(file);
  if (words.length ? words.length === 1 && words[0] === "-" : needed && isPromptPiped())
    return textOf(await readStandardInput(PROMPT_LIMIT));
  return words.join(" ");
}

/** A terminal, /dev/null and what programs hand on unused are not read: what never ends would be waited for. */
function isPromptPiped(): boolean {
  try {
    const kind = fstatSync(0, { bigint: true }); // the other kind misleads `realpathSync`: see `statOf` in muffled-node.ts
    return kind.isFIFO() || kind.isFile();
  } catch {
    return false;
  }
}

/** Bytes of a prompt's file: a model reads some hundred words. */
const PROMPT_LIMIT = 1_000_000;

const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes).trim();
const readText = async (path: string): Promise<string> => textOf(await readInput(path, { limit: PROMPT_LIMIT }));
