/** Options of the command line: those of a generation as the table has them, and those that several commands share. */
import { existsSync } from "node:fs";
import { InvalidArgumentError, Option, type Command } from "commander";
import { bytesOfText } from "../base/units.ts";
import type { ComponentInputs } from "../pipelines/component-files.ts";
import type { LoraInput } from "../pipelines/lora-input.ts";
import type { GenerateOptions } from "../pipelines/options.ts";
import { modelNamed } from "./model-names.ts";
import { OPTION_LIST, optionOf, type OptionName } from "../pipelines/options/table.ts";

export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number.");
  return value;
}

/** Bytes with their unit. */
export function byteCount(text: string): number {
  const value = bytesOfText(text);
  if (!value) throw new InvalidArgumentError("It must be a size in bytes, such as 4GB or 512MB.");
  return value;
}

/** Sizes that models were trained at, by the names that such sizes go under. */
const SIZES: Readonly<Record<string, readonly [number, number]>> = { "480p": [720, 480], "768p": [1360, 768] };

/** Two numbers, of the two options that share the flag. */
function size(text: string): readonly [number, number] {
  const named = SIZES[text.toLowerCase()];
  if (named) return named;
  const [, width, height] = /^(\d+)[x×*:](\d+)$/i.exec(text) ?? [];
  if (!width || !height) throw new InvalidArgumentError("It must be WIDTHxHEIGHT, such as 720x480, or 480p, 768p.");
  return [Number(width), Number(height)];
}

/** Numbers with commas between them. */
const numbers = (text: string): number[] =>
  text
    .split(/[\s,]+/)
    .filter(Boolean)
    .map(number);

/** `file:scale`; a file of that whole name wins. */
export function lora(text: string, list: readonly LoraInput[] = []): LoraInput[] {
  const [, file, scale] = /^(.+):([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)$/i.exec(text) ?? [];
  return [...list, file === undefined || existsSync(text) ? { adapter: text } : { adapter: file, scale: Number(scale) }];
}

/** The options of each flag, by the name that commander keeps its value under. */
const BY_ATTRIBUTE = new Map<string, OptionName[]>();
for (const [name, { flag }] of OPTION_LIST) {
  if (flag === undefined) continue;
  const attribute = new Option(flag).attributeName();
  BY_ATTRIBUTE.set(attribute, [...(BY_ATTRIBUTE.get(attribute) ?? []), name]);
}

/** Whether what stands on the command line is a path to what the option takes. */
const takesFile = (flag: string): boolean => /[<[]file[>\]]$/.test(flag);

/** An option of a generation as commander's. @param help in place of the table's */
export function flagOf(name: OptionName, help?: string): Option {
  const { flag, flagHelp, values, help: told = "", otherwise, fallback } = optionOf(name);
  if (flag === undefined) throw new Error(`${name} has no flag`);
  const negated = flag.startsWith("--no-");
  const standard = negated ? undefined : (otherwise ?? (fallback === undefined ? undefined : String(fallback)));
  const made = new Option(flag, help ?? `${flagHelp ?? told}${standard === undefined ? "" : ` (default: ${standard})`}`);
  if (values.kind === "choice") return made.choices(Object.keys(values.choices!));
  if (values.kind === "number") return BY_ATTRIBUTE.get(made.attributeName())!.length > 1 ? made.argParser(size) : made.argParser(number);
  if (values.kind === "bytes") return made.argParser(byteCount);
  if (values.kind === "numbers") return made.argParser(numbers);
  return values.kind === "adapters" ? made.argParser(lora) : made;
}

/** The options of a table, each flag once. */
export function flagsOf(table: object): Option[] {
  const names = (Object.keys(table) as OptionName[]).filter((name) => optionOf(name).flag !== undefined);
  return names
    .filter((name, at) => names.findIndex((other) => optionOf(other).flag === optionOf(name).flag) === at)
    .map((name) => flagOf(name));
}

/** Declares options one after another. */
export const addFlags = (command: Command, flags: readonly Option[]): Command => flags.reduce((to, flag) => to.addOption(flag), command);

/** Files that options are read from, by the option's name; `true` where a flag stands without its argument. */
export type OptionFiles = Partial<Record<OptionName, string | true>>;

/** What was read from the command line: options of a generation that are values, those that are files, and what is the command's own. */
export interface Flags<Own extends object> {
  readonly given: Partial<GenerateOptions>;
  readonly files: OptionFiles;
  readonly own: Own;
}

/** Sorts commander's options. @param commandsOwn attributes that the command takes itself, though an option of a generation has them too */
export function readFlags<Own extends object>(parsed: object, commandsOwn: readonly string[] = []): Flags<Own> {
  const given: Record<string, unknown> = {};
  const files: OptionFiles = {};
  const own: Record<string, unknown> = {};
  for (const [attribute, value] of Object.entries(parsed)) {
    const names = commandsOwn.includes(attribute) ? undefined : BY_ATTRIBUTE.get(attribute);
    if (!names) own[attribute] = value;
    else if (takesFile(optionOf(names[0]!).flag!)) files[names[0]!] = value as string | true;
    else for (const [at, name] of names.entries()) given[name] = names.length > 1 ? (value as readonly number[])[at] : value;
  }
  return { given, files, own: own as Own };
}

/** Which device, and how it stores numbers. */
export interface DeviceFlags {
  adapter?: string;
  dtype?: "f32" | "f16";
}
/** Of commands that open whole models. */
export interface ModelDeviceFlags extends Omit<DeviceFlags, "dtype"> {
  dtype?: "f32" | "f16" | "q8" | "q4";
}

export const deviceFlags = (standard = "f16 on GPUs that have it", also: readonly string[] = []): Option[] => [
  new Option("--dtype <type>", `storage type of weights and activations (default: ${standard})`).choices(["f32", "f16", ...also]),
  new Option(
    "--adapter <name>",
    "gpu, lavapipe, swiftshader, or part of an adapter's name (default: the fastest here; `cogwheel adapters` lists them)",
  ),
];

/** q8 and q4 quantize linear layers while they are loaded. */
export const modelDeviceFlags = (): Option[] => deviceFlags("f16 on GPUs that have it; q8, q4: linear layers in 8 or 4 bits", ["q8", "q4"]);

/** Which files take the place of which components. */
export type FileFlags = { [K in keyof ComponentInputs]?: string } & { transformerConfig?: string };

/** @param only the components that the command has to do with */
export const fileFlags = (only: readonly (keyof FileFlags)[] = ["transformer", "transformerConfig", "textEncoder", "vae"]): Option[] =>
  [
    new Option("--transformer <file>", "a file in place of the transformer's weights: .safetensors (also quantized) or .gguf"),
    new Option(
      "--transformer-config <name>",
      "the config of that file, where it has none: a published model's name such as cogvideox-5b-i2v, or a config.json",
    ),
    new Option("--text-encoder <file>", "a file in place of the text encoder's weights: .safetensors (also quantized) or .gguf"),
    new Option("--vae <path>", "a .safetensors file, or a VAE's folder, in place of the checkpoint's VAE"),
  ].filter((option) => only.includes(option.attributeName() as keyof FileFlags));

/** Which checkpoint, and which of its files. */
export interface ModelFlags extends FileFlags {
  model?: string;
  variant?: string;
}
export const modelFlags = (): Option[] => [
  new Option(
    "-m, --model <folder>",
    "checkpoint in diffusers' layout: a folder, a URL, " +
      "a repository on the hub by org/name[@revision] or its page, " +
      "or 2b, 5b, 5b-i2v, 1.5-5b, 1.5-5b-i2v (default: the embedded moving-shapes model)",
  ).argParser(modelNamed),
  new Option("--variant <name>", "file-name variant of the weights, such as fp16"),
];

/** A checkpoint where it is all that a command is about. */
export const MODEL_ARGUMENT = [
  "[model]",
  "checkpoint: a folder, a URL, org/name[@revision] on the hub, or a short name such as 2b (default: the embedded moving-shapes model)",
  modelNamed,
] as const;
