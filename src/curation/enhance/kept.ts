/** Prompts that were rewritten, kept for this user: the same prompt for the same model by the same rules is not asked for twice. */
import { keptFiles } from "#platform";
import { isObject } from "../../base/json-scan.ts";

/** A text that is kept, and what it is of. */
export interface KeptEnhanced {
  readonly prompt: string;
  readonly from: string;
  /** The model that wrote it. */
  readonly model: string;
}

const KIND = "enhanced";
const MOST_BYTES = 65_536;
const MOST_FILES = 4096;

export async function findEnhanced(key: string): Promise<KeptEnhanced | undefined> {
  const files = await keptFiles(KIND);
  const bytes = await files?.read(`${key}.json`, MOST_BYTES).catch(() => undefined);
  return bytes && keptOf(bytes);
}

function keptOf(bytes: Uint8Array): KeptEnhanced | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (!isObject(value)) return undefined;
    const { prompt, from, model } = value;
    return [prompt, from, model].every((one) => typeof one === "string") && prompt !== "" ? (value as unknown as KeptEnhanced) : undefined;
  } catch {
    return undefined; // a file of somebody else's, or half of one
  }
}

/** Keeps a text; where it cannot be kept, the next call asks again. */
export async function keepEnhanced(key: string, kept: KeptEnhanced): Promise<void> {
  const files = await keptFiles(KIND);
  const bytes = new TextEncoder().encode(JSON.stringify(kept));
  if (!files || bytes.length > MOST_BYTES) return;
  try {
    await files.write(`${key}.json`, bytes);
    const all = (await files.list()).sort((a, b) => b.used - a.used);
    for (const { name } of all.slice(MOST_FILES)) await files.remove(name);
  } catch {
    // see above
  }
}

/** How many texts are kept, and where; undefined where none can be. */
export async function countEnhanced(): Promise<{ place: string; count: number; bytes: number } | undefined> {
  const files = await keptFiles(KIND, true);
  if (!files) return undefined;
  const list = await files.list();
  return { place: files.place, count: list.length, bytes: list.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/** Forgets all. Resolves to how many there were. */
export async function clearEnhanced(): Promise<number> {
  const files = await keptFiles(KIND, true);
  const list = (await files?.list()) ?? [];
  for (const { name } of list) await files!.remove(name);
  return list.length;
}
