/** Adapters that jobs ask for, kept beside them under names that say what they are: a worker needs none of their files. */
import { CogwheelError } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import type { LoadedLora } from "../pipelines/lora-input.ts";
import { loadLora } from "../pipelines/lora-file.ts";
import type { Blobs } from "./backend.ts";
import type { JobAdapter } from "./job.ts";

const PREFIX = "adapter.";
/** Adapters of a store that stay in memory: the next job may ask for the same. */
const KEPT = 2;
const kept = new WeakMap<Blobs, Map<string, Promise<LoadedLora>>>();

/** Keeps the bytes of an adapter's file, once; resolves to the name of its blob. */
export async function keepAdapter(blobs: Blobs, bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const blob = PREFIX + (await sha256(bytes));
  if ((await blobs.size(blob)) !== bytes.length) await blobs.put(blob, bytes);
  return blob;
}

/** An adapter as a generation takes it. */
export async function keptAdapter(blobs: Blobs, { name, blob }: JobAdapter): Promise<LoadedLora> {
  const known = kept.get(blobs) ?? new Map<string, Promise<LoadedLora>>();
  kept.set(blobs, known);
  const read = known.get(blob) ?? readAdapter(blobs, name, blob);
  known.delete(blob);
  known.set(blob, read);
  if (known.size > KEPT) known.delete(known.keys().next().value!);
  try {
    return { ...(await read), label: name };
  } catch (error) {
    known.delete(blob);
    throw error;
  }
}

async function readAdapter(blobs: Blobs, name: string, blob: string): Promise<LoadedLora> {
  const bytes = await blobs.get(blob);
  if (!bytes || PREFIX + (await sha256(new Uint8Array(bytes))) !== blob)
    throw new CogwheelError(
      "jobs",
      `an adapter must be kept with the jobs that ask for it, got none for ${name}; start the server that has it again`,
    );
  return await loadLora(bytes);
}
