/**
 * What text encoders made of prompts, kept for this user: T5-XXL has 9.5 GB, and what it makes of a prompt has some megabytes. Each
 * result lies under a digest of all that it follows from (the ids, the encoder's files, the kernels, the adapter), so that one that is
 * found is, byte for byte, what the encoder would give. Those that were not used for the longest time make room for new ones.
 */
import { keptFiles } from "#platform";
import { sha256 } from "../base/sha256.ts";
import { toFloat32 } from "../files/convert.ts";
import { openSafetensors, writeSafetensors } from "../files/safetensors.ts";
import { elements } from "../graph/dtype.ts";
import { memorySource } from "../sources/memory.ts";

const KIND = "prompts";
const FORMAT = "cogwheel-prompt/1";
const ENDING = ".safetensors";
/** Kept at most, where nothing else is said: seventy prompts with their negative ones, of T5-XXL. */
const LIMIT_BYTES = 512 * 2 ** 20;
/** Of one result. */
const MOST_BYTES = 256 * 2 ** 20;
const MOST_FILES = 4096;

/** A result that is kept. */
export interface KeptPrompt {
  /** The digest that it lies under. */
  readonly key: string;
  /** The prompts that were encoded, the negative one first where there is one. */
  readonly prompts: readonly string[];
  /** The checkpoint that the encoder belongs to, as it was named. */
  readonly model: string;
  /** Of its file. */
  readonly bytes: number;
  /** When it was last used. */
  readonly used: Date;
}

/** The digest of all that a result follows from. @param from anything that JSON holds */
export const promptKey = (from: unknown): Promise<string> => sha256(new TextEncoder().encode(JSON.stringify([FORMAT, from])));

/** What is kept under a key, in this shape. What is damaged is as if it were not there, and goes. */
export async function findPrompt(key: string, shape: readonly number[]): Promise<Float32Array | undefined> {
  const files = await keptFiles(KIND);
  const bytes = await files?.read(key + ENDING, MOST_BYTES).catch(() => undefined);
  if (!bytes) return undefined;
  try {
    const file = await openSafetensors(memorySource({ kept: bytes }), "kept");
    const { format, sha256: sum } = file.metadata;
    const { bytes: data, shape: got, dtype } = await file.read("prompt_embeds");
    if (format === FORMAT && dtype === "F32" && got.join() === shape.join() && (await sha256(data)) === sum) return toFloat32(data, dtype);
  } catch {
    // no file of ours, or no longer
  }
  await files!.remove(key + ENDING).catch(() => undefined);
  return undefined;
}

/** Keeps a result. Where it cannot be kept (a full disk, no right to write) nothing is lost but the next run's time. */
export async function keepPrompt(
  key: string,
  data: Float32Array,
  shape: readonly number[],
  { prompts, model }: Pick<KeptPrompt, "prompts" | "model">,
): Promise<void> {
  if (data.length !== elements(shape)) throw new Error(`${data.length} values for [${shape.join(", ")}]`);
  const files = await keptFiles(KIND);
  if (!files) return;
  const values = new Float32Array(data);
  const bytes = writeSafetensors(
    { prompt_embeds: { dtype: "F32", shape: [...shape], data: values } },
    { format: FORMAT, sha256: await sha256(new Uint8Array(values.buffer)), prompts: JSON.stringify(prompts), model },
  );
  const limit = files.limitBytes ?? LIMIT_BYTES;
  if (bytes.length > Math.min(limit, MOST_BYTES)) return;
  try {
    await files.write(key + ENDING, bytes);
    const others = (await files.list()).filter(({ name }) => name !== key + ENDING).sort((a, b) => b.used - a.used);
    let [room, count] = [limit - bytes.length, MOST_FILES - 1];
    for (const { name, bytes: size } of others) {
      room -= size;
      if (room < 0 || --count < 0) await files.remove(name);
    }
  } catch {
    // see above
  }
}

/** What is kept for this user, what was used last first, and where it lies; undefined where nothing can be kept. */
export async function listPrompts(): Promise<{ place: string; limitBytes: number; prompts: KeptPrompt[] } | undefined> {
  const files = await keptFiles(KIND, true);
  if (!files) return undefined;
  const found: KeptPrompt[] = [];
  for (const { name, bytes, used } of await files.list()) {
    if (!name.endsWith(ENDING)) continue;
    const about = await describe(await files.peek(name, MOST_BYTES).catch(() => undefined));
    found.push({ key: name.slice(0, -ENDING.length), ...about, bytes, used: new Date(used) });
  }
  return { place: files.place, limitBytes: files.limitBytes ?? LIMIT_BYTES, prompts: found.sort((a, b) => +b.used - +a.used) };
}

async function describe(bytes: Uint8Array | undefined): Promise<Pick<KeptPrompt, "prompts" | "model">> {
  try {
    const { metadata } = await openSafetensors(memorySource({ kept: bytes! }), "kept");
    const prompts: unknown = JSON.parse(metadata["prompts"] ?? "[]");
    return { prompts: Array.isArray(prompts) ? prompts.map(String) : [], model: metadata["model"] ?? "" };
  } catch {
    return { prompts: [], model: "" };
  }
}

/** Forgets what is kept for this user. Resolves to how much that was. */
export async function clearPrompts(): Promise<{ files: number; bytes: number }> {
  const files = await keptFiles(KIND, true);
  const found = (await files?.list())?.filter(({ name }) => name.endsWith(ENDING)) ?? [];
  for (const { name } of found) await files!.remove(name);
  return { files: found.length, bytes: found.reduce((sum, { bytes }) => sum + bytes, 0) };
}
