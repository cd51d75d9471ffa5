/** Reads an adapter: a safetensors file, or a folder as diffusers or PEFT save one. */
import { openSource } from "#files";
import { toFloat32 } from "../files/convert.ts";
import { memorySource } from "../sources/memory.ts";
import { REMEDY_OF_PICKLES } from "../sources/file-kind.ts";
import { openSafetensors } from "../files/safetensors.ts";
import { readJson, type CheckpointSource } from "../sources/source.ts";
import { parseJsonObject } from "../base/json-scan.ts";
import { CogwheelError } from "../base/errors.ts";
import type { LoraTensor } from "../models/lora/merge.ts";
import { placeOf } from "./file-place.ts";
import type { AdapterAdvice, LoadedLora } from "./lora-input.ts";
import { whatIsWrong } from "./options/check.ts";
import { adviceFrom, type Settings } from "./settings.ts";

const ADVISED = ["steps", "timesteps", "guidance", "scheduler"] as const;

/** Names under which diffusers and PEFT save adapters in a folder. */
const PEFT_FILE = "adapter_model.safetensors";
const FILES = ["pytorch_lora_weights.safetensors", PEFT_FILE];
/** The same in PyTorch's own format. */
const PICKLES = ["pytorch_lora_weights.bin", "adapter_model.bin"];
const CONFIG = "adapter_config.json";
/** Settings to sample with under diffusers' names, as a checkpoint's: a file beside the adapter's in its folder, or its text in their metadata. */
const ADVICE = "generation.json";

/** Options of {@link loadLora}. */
export interface LoadLoraOptions {
  /** PEFT's adapter_config.json as an object, for the bytes of an adapter_model.safetensors, which have none beside them. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/**
 * Reads an adapter. PEFT's files come with their config; what the config asks for is checked when the adapter meets a model.
 * @param from a file or folder (Node), a URL of a file, a repository on the hub or the address of a file or folder in it, or the bytes
 * of a file
 */
export async function loadLora(from: string | URL | Uint8Array, options: LoadLoraOptions = {}): Promise<LoadedLora> {
  if (from instanceof Uint8Array)
    return readAdapter(memorySource({ "lora.safetensors": from }, "the LoRA"), "lora.safetensors", "the LoRA", options);
  const text = String(from);
  const { folder, file } = placeOf(text);
  await using source = await openSource(folder, { anyFile: true });
  if (file !== undefined) return await readAdapter(source, file, text, options);
  for (const file of FILES)
    if (await source.exists(file)) {
      const read = await readAdapter(source, file, `${text}/${file}`, options);
      return (await source.exists(ADVICE)) ? { ...read, ...adviceOf(await readJson(source, ADVICE), `${text}/${ADVICE}`) } : read;
    }
  for (const file of PICKLES)
    if (await source.exists(file))
      throw new CogwheelError("lora", `an adapter must be a .safetensors file, got ${text}/${file}; ${REMEDY_OF_PICKLES}`);
  throw new CogwheelError("lora", `an adapter must be a .safetensors file, or a folder with ${FILES.join(" or ")}, got ${text}`);
}

async function readAdapter(source: CheckpointSource, path: string, label: string, { config: given }: LoadLoraOptions): Promise<LoadedLora> {
  const file = await openSafetensors(source, path);
  const names = [...file.tensors.keys()];
  const tensors = new Map<string, LoraTensor>();
  for (const [name, { shape, dtype }] of file.tensors) tensors.set(name, { shape, data: toFloat32((await file.read(name)).bytes, dtype) });
  const config =
    given ??
    (await configBeside(source, path, names, label)) ??
    (await metadataConfig(file.metadata["lora_adapter_metadata"], names, label));
  const advice = file.metadata[ADVICE];
  return {
    tensors,
    label,
    ...(config ? { config } : {}),
    ...(advice === undefined
      ? {}
      : adviceOf(
          parseJsonObject(advice, (rule) => brokenAdvice(`${label}: ${ADVICE} ${rule}`)),
          label,
        )),
  };
}

const brokenAdvice = (rule: string): CogwheelError => new CogwheelError("lora", `${rule}; correct the adapter's metadata`);

/** The advice in a generation.json. What an adapter says of sizes and lengths is the checkpoint's to say. */
function adviceOf(json: Record<string, unknown>, label: string): { advice: AdapterAdvice } {
  const told: Partial<Settings> = adviceFrom(json);
  for (const name of ADVISED) {
    const wrong = told[name] === undefined ? undefined : whatIsWrong(name, told[name]);
    if (wrong !== undefined) throw brokenAdvice(`${label}: ${ADVICE}: ${wrong}`);
  }
  return { advice: Object.fromEntries(ADVISED.flatMap((name) => (told[name] === undefined ? [] : [[name, told[name]]]))) };
}

/** PEFT's config, which belongs to PEFT's file, or to one that PEFT's keys show to be one; lora_alpha is in it. */
async function configBeside(
  source: CheckpointSource,
  path: string,
  names: readonly string[],
  label: string,
): Promise<Record<string, unknown> | undefined> {
  const { PEFT_PREFIX } = await import("../models/lora/keys.ts");
  const peftKeys = names.some((name) => name.startsWith(PEFT_PREFIX) && /\.lora_[AB](?:\.[\w-]+)?\.weight$/.test(name));
  if (!peftKeys && path !== PEFT_FILE) return undefined;
  if (await source.exists(CONFIG)) return await readJson(source, CONFIG, (await import("../models/lora/config.ts")).parseLoraConfig);
  if (!peftKeys) return undefined;
  throw new CogwheelError(
    "lora",
    `${label}: an adapter that PEFT saved must have ${CONFIG} beside it, which holds its lora_alpha, got none; ` +
      "give the folder that holds both, or loadLora(bytes, { config })",
  );
}

/**
 * What diffusers writes beside the tensors: PEFT's config, its names prefixed with the component as those of the tensors are. Which modules
 * an adapter changes diffusers takes from the tensors, not from here.
 */
async function metadataConfig(
  text: string | undefined,
  names: readonly string[],
  label: string,
): Promise<Record<string, unknown> | undefined> {
  if (text === undefined || text === "") return undefined;
  const { parseLoraConfig } = await import("../models/lora/config.ts"); // a chunk of its own: most pages read no adapter
  const json = parseLoraConfig(
    text,
    (rule) => new CogwheelError("lora", `${label}: lora_adapter_metadata ${rule}; save the adapter again`),
  );
  const prefixed = names.some((name) => name.startsWith("transformer."));
  const config: [string, unknown][] = [];
  for (const [key, value] of Object.entries(json)) {
    if (prefixed && !key.startsWith("transformer."))
      throw new CogwheelError(
        "lora",
        `${label}: lora_adapter_metadata must be of the transformer as the tensors are, ` +
          `got ${JSON.stringify(key.slice(0, 80))}; save the adapter again`,
      );
    const field = key.replace(/^transformer\./, "");
    if (!["target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"].includes(field)) config.push([field, value]);
  }
  return Object.fromEntries(config);
}
