/** What the command is asked for: words and options, the files that are named, and what a saved run was asked for. */
import { basename } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import type { LoraInput } from "../../pipelines/lora-input.ts";
import { readLatents, type SavedRun } from "../../pipelines/latents-file.ts";
import type { GenerateOptions } from "../../pipelines/options.ts";
import { takenUp } from "../../pipelines/options/saved.ts";
import { OPTION_LIST, optionOf, type OptionName } from "../../pipelines/options/table.ts";
import type { ModelRules } from "../../pipelines/settings.ts";
import { taskOf, type TaskInputs } from "../../pipelines/task.ts";
import type { Frame } from "../../video/frame.ts";
import { readInput } from "../files.ts";
import type { ModelDeviceFlags, Flags, ModelFlags } from "../flags.ts";

/** What is the command's own: which model, and where results go. */
export interface GenerateFlags extends ModelDeviceFlags, ModelFlags {
  out?: string;
  saveLatents?: string;
  enhance?: string;
  enhanceModel?: string;
  plan?: boolean;
  json?: boolean;
}

export interface Asked extends Flags<GenerateFlags> {
  readonly prompt: string;
  /** The run to start from or go on with, and the file that it was read from. */
  readonly saved: (SavedRun & { readonly file: string }) | undefined;
}

/** Reads the prompt and the saved latents. */
export async function readAsked(words: readonly string[], flags: Flags<GenerateFlags>): Promise<Asked> {
  const promptFile = pathOf(flags, "prompt");
  if (words.length && promptFile)
    throw new CogwheelError("generate", "a prompt is given as words or with --prompt-file, got both; leave one out");
  const file = pathOf(flags, "start");
  const saved = file === undefined ? undefined : { ...(await readLatents(await readInput(file), file)), file };
  const prompt = (promptFile ? await readText(promptFile) : words.join(" ")) || (saved?.settings.prompt ?? "");
  if (prompt.trim() === "")
    throw new CogwheelError(
      "generate",
      'a prompt must say what to show, got nothing; try: npm start -- "a red circle moving left on a black background"',
    );
  if (flags.own.enhance !== undefined && saved && saved.state.step > 0)
    throw new CogwheelError("generate", `a run that goes on keeps its prompt, got --enhance with ${file} of some steps; leave it out`);
  return { ...flags, prompt, saved };
}

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
export function optionsFrom({ prompt, given, saved }: Asked, inputs: TaskInputs, rules: ModelRules): GenerateOptions {
  if (!saved) return { ...given, ...inputs, prompt };
  const resumed = saved.state.step > 0 ? saved.state.task : undefined;
  const task = resumed ?? taskOf(inputs, rules);
  return { ...takenUp(saved.settings, task), ...given, ...inputs, prompt, start: saved.state };
}

/** Adapters and scales as saved latents name them. */
export const adapterNames = (loras: readonly LoraInput[] | undefined): string | undefined =>
  loras?.map(({ adapter, scale = 1 }) => `${basename(String(adapter))}:${scale}`).join(", ");

/** Bytes of a prompt's file: a model reads some hundred words. */
const PROMPT_LIMIT = 1_000_000;

const readText = async (path: string): Promise<string> => new TextDecoder().decode(await readInput(path, { limit: PROMPT_LIMIT })).trim();
