/** Files that an app or a user puts in the place of a checkpoint's components: where they lie, opened. */
import { openSource } from "#files";
import { CogwheelError } from "../base/errors.ts";
import type { ComponentFile } from "../checkpoint/component-file.ts";
import type { HubOptions } from "../hub/id.ts";
import { filesSource } from "../sources/picked.ts";
import type { PublishedName } from "./cogvideox/published-models.ts";
import { placeOf } from "./file-place.ts";

/**
 * A file of weights: a path (Node), a URL, the address of a file on the hub, or a file that a user picked. A component's folder, as
 * diffusers saves it and training leaves it, is its file of weights with the config beside it; so is the folder that this one lies in.
 */
export type FileInput = string | URL | File;

/** Of a file that comes without: the config itself, or the name of the published model that has it. */
export type ConfigInput = Readonly<Record<string, unknown>> | PublishedName;

/** A file in a component's place. Its config is in it, beside it, given here, or else the checkpoint's. */
export type ComponentInput = FileInput | { readonly file: FileInput; readonly config?: ConfigInput } | ComponentFile;

/** The options that name such files. */
export interface ComponentInputs {
  /** A file in place of the transformer's weights: safetensors (also quantized: fp8, or ggml's blocks) or GGUF (docs/checkpoints.md). */
  transformer?: ComponentInput;
  /** The same for the text encoder: also GGUF of llama.cpp's T5 encoders. */
  textEncoder?: ComponentInput;
  /** The same for the VAE. */
  vae?: ComponentInput;
}

/** Options and the components that they stand for. */
const COMPONENTS = { transformer: "transformer", textEncoder: "text_encoder", vae: "vae" } as const satisfies Record<
  keyof ComponentInputs,
  string
>;

/** Opens what is named, by component. What was opened before a failure is closed again. */
export async function openComponentFiles(options: ComponentInputs, room: string, hub?: HubOptions): Promise<Map<string, ComponentFile>> {
  const files = new Map<string, ComponentFile>();
  try {
    for (const [name, component] of Object.entries(COMPONENTS) as [keyof ComponentInputs, string][]) {
      const input = options[name];
      if (input !== undefined) files.set(component, await openInput(input, { name, component, room }, hub));
    }
    return files;
  } catch (error) {
    await closeFiles(files);
    throw error;
  }
}

async function closeFiles(files: ReadonlyMap<string, ComponentFile>): Promise<void> {
  for (const { source } of files.values()) await source[Symbol.asyncDispose]();
}

/** An option, the component that it stands for, and what errors are told to be of. */
interface Place {
  readonly name: string;
  readonly component: string;
  readonly room: string;
}

async function openInput(input: ComponentInput, place: Place, hub?: HubOptions): Promise<ComponentFile> {
  if (typeof input === "object" && "source" in input) return input;
  const { file, config } = typeof input === "object" && "file" in input ? input : { file: input, config: undefined };
  const told = typeof config === "string" ? await publishedConfig(config, place) : config;
  return { ...(await openFile(file, place, hub)), ...(told ? { config: told } : {}) };
}

async function publishedConfig(name: string, { component, room, name: option }: Place): Promise<Readonly<Record<string, unknown>>> {
  const { publishedModels } = await import("./cogvideox/published-models.ts"); // most pages name none
  if (!Object.hasOwn(publishedModels, name))
    throw new CogwheelError(
      room,
      `the config of ${option} must be one of ${Object.keys(publishedModels).join(", ")}, got ${JSON.stringify(name)}; ` +
        "or give what its config.json holds",
    );
  const configs: Readonly<Record<string, Readonly<Record<string, unknown>>>> = publishedModels[name as PublishedName].configs;
  return configs[component]!;
}

/** The files that a component's folder keeps its weights in. */
const IN_FOLDER = {
  transformer: "diffusion_pytorch_model.safetensors",
  vae: "diffusion_pytorch_model.safetensors",
  text_encoder: "model.safetensors",
};

async function openFile(file: FileInput, { name, component, room }: Place, hub?: HubOptions): Promise<ComponentFile> {
  if (typeof file === "object" && !(file instanceof URL)) return { source: filesSource([file]), path: file.name };
  const place = placeOf(String(file));
  const source = await openSource(place.folder, { anyFile: true, ...(hub ? { hub } : {}) });
  if (place.file !== undefined) return { source, path: place.file };
  const weights = IN_FOLDER[component as keyof typeof IN_FOLDER];
  try {
    for (const path of [weights, `${component}/${weights}`]) if (await source.exists(path)) return { source, path };
    throw new CogwheelError(
      room,
      `${name} must name a .safetensors or .gguf file, or a folder with ${weights} in it, got ${String(file)}; give the file itself`,
    );
  } catch (error) {
    await source[Symbol.asyncDispose]();
    throw error;
  }
}
