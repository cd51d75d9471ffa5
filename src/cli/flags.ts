/** Options that several commands share, and how their texts are read. */
import { existsSync } from "node:fs";
import { InvalidArgumentError, Option, type Command } from "commander";
import type { LoraInput } from "../pipelines/lora-file.ts";
import type { Settings } from "../pipelines/settings.ts";

/** Which device, and how it stores numbers. */
export interface DeviceFlags {
  adapter?: string;
  dtype?: "f32" | "f16";
}

export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number.");
  return value;
}

export interface Size {
  width: number;
  height: number;
}
export function size(text: string): Size {
  const [, width, height] = /^(\d+)[x×](\d+)$/.exec(text) ?? [];
  if (!width || !height) throw new InvalidArgumentError("It must be WIDTHxHEIGHT, such as 720x480.");
  return { width: Number(width), height: Number(height) };
}

/** `file:scale`; a file of that whole name wins. */
export function loraArgument(text: string): LoraInput {
  const [, file, scale] = /^(.+):([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)$/i.exec(text) ?? [];
  return file === undefined || existsSync(text) ? { adapter: text } : { adapter: file, scale: Number(scale) };
}

export const adapter = (): Option =>
  new Option("--adapter <name>", "gpu, lavapipe, swiftshader, or part of an adapter's name (default: the fastest there is)");
export const dtype = (standard = "f16 on GPUs that have it"): Option =>
  new Option("--dtype <type>", `storage type of weights and activations (default: ${standard})`).choices(["f32", "f16"]);
export const tiling = (): Option =>
  new Option("--tiling <mode>", "how the VAE goes about large pictures (default: none where the adapter can, else exact)").choices([
    "none",
    "exact",
    "reference",
  ]);
export const fit = (): Option =>
  new Option("--fit <how>", "how inputs of another shape are made to fit, by Lanczos (default: crop, both sides the same)").choices([
    "crop",
    "stretch",
    "pad",
  ]);
export const model = (): Option =>
  new Option(
    "--model <folder>",
    "checkpoint in diffusers' layout: a folder, a URL, or org/name[@revision] on the hub, or its page (default: the embedded moving shapes)",
  );
export const variant = (): Option => new Option("--variant <name>", "file-name variant of the weights, such as fp16");
export const checkFinite = (): Option =>
  new Option("--check-finite", "stop at the first node that makes a NaN or an infinity, and name it");

/** The settings of a generation. */
export const settings = (command: Command): Command =>
  command
    .option("--size <WxH>", "width and height in pixels (default: what the model was trained at)", size)
    .option("--frames <n>", "frames of the video; 1 makes a picture", number)
    .option("--fps <n>", "frames a second of the file", number)
    .option("--steps <n>", "denoising steps", number)
    .option("--guidance <scale>", "classifier-free guidance; 1 switches it off", number)
    .addOption(new Option("--scheduler <name>", "sampler").choices(["ddim", "dpm"]));

/** The settings with `--size` as it was read. */
export type SettingFlags = Partial<Omit<Settings, keyof Size>> & { size?: Size };

/** Width and height beside each other, as the engine takes them. */
export function sized<T extends { size?: Size }>({ size: wanted, ...rest }: T): Omit<T, "size"> & Partial<Size> {
  return { ...rest, ...wanted };
}
