/** A prompt's embeddings (`CogVideoX.encodePrompt`) as a file, for a run elsewhere. */
import { memorySource } from "../sources/memory.ts";
import { openSafetensors, writeSafetensors } from "../files/safetensors.ts";
import { toFloat32 } from "../files/convert.ts";

const FORMAT = "cogwheel-prompt-embeds/1";

/** A prompt's embeddings as a safetensors file. */
export const writeEmbeds = (data: Float32Array): Uint8Array =>
  writeSafetensors({ prompt_embeds: { dtype: "F32", shape: [data.length], data } }, { format: FORMAT });

/** What a file of them holds; undefined where it is none. */
export async function readEmbeds(bytes: Uint8Array): Promise<Float32Array | undefined> {
  const file = await openSafetensors(memorySource({ embeds: bytes }), "embeds").catch(() => undefined);
  if (file?.metadata["format"] !== FORMAT || !file.tensors.has("prompt_embeds")) return undefined;
  const { bytes: data, dtype } = await file.read("prompt_embeds");
  return toFloat32(data, dtype);
}
