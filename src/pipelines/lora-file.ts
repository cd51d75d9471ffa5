/** Reads an adapter: a safetensors file, or a folder as diffusers or PEFT save one. */
import { openSource } from "#files";
import { toFloat32 } from "../checkpoint/convert.ts";
import { parseJsonObject } from "../checkpoint/json-scan.ts";
import { memorySource } from "../checkpoint/source-memory.ts";
import { openSafetensors } from "../checkpoint/safetensors.ts";
import { readJson, type CheckpointSource } from "../checkpoint/source.ts";
import { CogwheelError } from "../errors.ts";
import type { LoraAdapter, LoraTensor } from "../models/lora.ts";

/** An adapter in memory; read it once with `loadLora` and give it to many generations. */
export type LoadedLora = Omit<LoraAdapter, "scale">;

/** What `generate` takes: an adapter that was loaded, a file or folder (Node), a URL, or the bytes of a file. */
export interface LoraInput {
  readonly adapter: string | URL | Uint8Array | LoadedLora;
  /** Multiplies the change. Default 1. */
  readonly scale?: number;
}

/** Names under which diffusers and PEFT save adapters in a folder. */
const FILES = ["pytorch_lora_weights.safetensors", "adapter_model.safetensors"];

/** @param from a file or folder (Node), a URL of a file, or the bytes of a file */
export async function loadLora(from: string | URL | Uint8Array): Promise<LoadedLora> {
  if (from instanceof Uint8Array) return readAdapter(memorySource({ "lora.safetensors": from }, "the LoRA"), "lora.safetensors", "the LoRA");
  const text = String(from);
  const cut = /\.safetensors$/i.test(text) ? Math.max(text.lastIndexOf("/"), text.lastIndexOf("\\")) : -1;
  const isFile = /\.safetensors$/i.test(text);
  await using source = await openSource(isFile ? (cut < 0 ? "./" : text.slice(0, cut + 1)) : from);
  if (isFile) return await readAdapter(source, text.slice(cut + 1), text);
  for (const file of FILES) if (await source.exists(file)) return await readAdapter(source, file, `${text}/${file}`);
  throw new CogwheelError("lora", `an adapter must be a .safetensors file, or a folder with ${FILES.join(" or ")}, got ${text}`);
}

async function readAdapter(source: CheckpointSource, path: string, label: string): Promise<LoadedLora> {
  const file = await openSafetensors(source, path);
  const tensors = new Map<string, LoraTensor>();
  for (const [name, { shape, dtype }] of file.tensors) tensors.set(name, { shape, data: toFloat32((await file.read(name)).bytes, dtype) });
  const config = metadataConfig(file.metadata["lora_adapter_metadata"], label) ?? ((await source.exists("adapter_config.json")) ? await readJson(source, "adapter_config.json") : undefined);
  return { tensors, label, ...(config ? { config } : {}) };
}

/** What diffusers writes beside the tensors: PEFT's config, its keys prefixed with the component. */
function metadataConfig(text: string | undefined, label: string): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  const json = parseJsonObject(text, (rule) => new CogwheelError("lora", `${label}: lora_adapter_metadata ${rule}; save the adapter again`));
  return Object.fromEntries(Object.entries(json).map(([key, value]) => [key.replace(/^transformer\./, ""), value]));
}
