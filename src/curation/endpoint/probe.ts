/** What an endpoint tells of itself before it is asked anything: its models, and whether they see. */
import { isObject } from "../../base/json-scan.ts";

/** A model that an endpoint serves. */
export interface ServedModel {
  readonly id: string;
  /** Whether it takes pictures; undefined where the server does not say. */
  readonly vision: boolean | undefined;
  /** Of llama.cpp and vLLM: what tells one file of weights from another under the same name. */
  readonly stamp: string;
}

/** The list of `GET /models`, as OpenAI, vLLM, Ollama, LM Studio and llama.cpp's server have it; undefined where it is none. */
export function modelsOf(body: unknown): ServedModel[] | undefined {
  if (!isObject(body)) return undefined;
  const list = body["data"] ?? body["models"];
  if (!Array.isArray(list)) return undefined;
  return list.flatMap((entry: unknown) => {
    if (!isObject(entry)) return [];
    const id = entry["id"] ?? entry["name"] ?? entry["model"];
    if (typeof id !== "string") return [];
    // A list without pictures is of a model that takes none; a server that says nothing may do anything.
    const modalities = modalitiesOf(entry);
    const { meta, root, max_model_len: length } = entry;
    return [{ id, vision: modalities?.includes("image"), stamp: JSON.stringify([meta, root, length]) }];
  });
}

function modalitiesOf(entry: Record<string, unknown>): string[] | undefined {
  const { architecture, capabilities } = entry;
  const list = isObject(architecture) ? architecture["input_modalities"] : undefined;
  if (Array.isArray(list)) return list.map(String);
  // llama.cpp lists what a model can do; one that sees has "multimodal" in it.
  return Array.isArray(capabilities) && capabilities.includes("multimodal") ? ["text", "image"] : undefined;
}

/** What llama.cpp's `GET /props` says of pictures; undefined where it says nothing. */
export function visionOfProps(body: unknown): boolean | undefined {
  const modalities = isObject(body) ? body["modalities"] : undefined;
  const vision = isObject(modalities) ? modalities["vision"] : undefined;
  return typeof vision === "boolean" ? vision : undefined;
}
