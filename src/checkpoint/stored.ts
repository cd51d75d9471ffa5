/**
 * Checkpoints kept in the browser's private file system for this origin, to be opened again without the network.
 *
 *   cogwheel/‹folder›/…             the checkpoint's files, under their own paths
 *   cogwheel/‹folder›/stored.json   written last: the name, and each file's size and SHA-256
 *
 * A file is there whole or not at all: one that is cut short by a closed tab has another size than the one at its source, and is fetched
 * again. Where the source has a `SHA256SUMS` (as `sha256sum` writes it), every file must have the sum that stands there.
 */
import { CogwheelError } from "../errors.ts";
import type { OpenCheckpointOptions } from "./checkpoint.ts";
import { neededFiles } from "./hub-files.ts";
import { filesSource } from "./source-files.ts";
import { checkpointError, isObject, readText, type CheckpointSource } from "./source.ts";

const ROOT = "cogwheel";
const RECORD = "stored.json";
/** Bytes read, hashed and written at once. */
const PIECE = 8 << 20;

interface Stored {
  readonly name: string;
  readonly files: Readonly<Record<string, { readonly size: number; readonly sha256: string }>>;
}

/** A checkpoint in the browser's storage. */
export interface StoredCheckpoint {
  readonly name: string;
  readonly bytes: number;
}

export interface StoreOptions extends OpenCheckpointOptions {
  signal?: AbortSignal;
  /** Bytes that are in place, of how many, and the file that is being written. */
  onProgress?: (done: number, total: number, file: string) => void;
}

/**
 * Copies the files that opening `from` and using it will read into the browser's storage under `name`, and resolves to a source on them.
 * What is there already, whole, is not fetched again. `from` stays open.
 */
export async function storeCheckpoint(from: CheckpointSource, name: string, { signal, onProgress, ...what }: StoreOptions = {}): Promise<CheckpointSource> {
  const { files, missing } = await neededFiles(from, { only: ["text_encoder", "tokenizer", "transformer", "vae", "scheduler"], ...what });
  if (missing.length) throw checkpointError(from, missing[0]!, `the files that a checkpoint needs must exist, got none for ${missing.join(", ")}; check the folder`);
  const sums = await sha256Sums(from);
  const sizes = new Map<string, number>();
  for (const file of files) sizes.set(file, await from.size(file));
  const total = [...sizes.values()].reduce((a, b) => a + b, 0);
  await refuseIfFull(total);
  // Without this a browser that runs out of space may take the files away.
  await navigator.storage.persist?.().catch(() => false);

  const folder = await folderOf(name, true);
  const before = await record(folder!);
  const stored: Record<string, { size: number; sha256: string }> = {};
  let done = 0;
  for (const file of files) {
    const size = sizes.get(file)!;
    const had = before?.files[file];
    const want = sums.get(file);
    if (had?.size === size && (want === undefined || want === had.sha256) && (await sizeOf(folder!, file)) === size) {
      stored[file] = had;
      done += size;
    } else {
      const sha256 = await copy(from, file, size, folder!, { ...(signal ? { signal } : {}), onBytes: (bytes) => onProgress?.((done += bytes), total, file) });
      if (want !== undefined && want !== sha256) {
        await remove(folder!, file);
        throw checkpointError(from, file, `the SHA-256 must be ${want} as SHA256SUMS says, got ${sha256}; the file was damaged on its way, store it again`);
      }
      stored[file] = { size, sha256 };
      // After each file, so that a store that is cut short goes on with the next one.
      await write(folder!, RECORD, new TextEncoder().encode(JSON.stringify({ name, files: { ...before?.files, ...stored } })));
    }
    onProgress?.(done, total, file);
  }
  await write(folder!, RECORD, new TextEncoder().encode(JSON.stringify({ name, files: stored } satisfies Stored)));
  return filesSource(folder!, name);
}

/** A checkpoint that was stored under `name`, all of its files of the size they had; null where there is none. */
export async function storedCheckpoint(name: string): Promise<CheckpointSource | null> {
  const folder = await folderOf(name, false);
  const known = folder && (await record(folder));
  if (!folder || !known?.files["model_index.json"]) return null;
  for (const [file, { size }] of Object.entries(known.files)) {
    const got = await sizeOf(folder, file);
    if (got !== size) throw new CogwheelError("checkpoint", `${file} of the stored ${JSON.stringify(name)} must have ${size} bytes, got ${got ?? "no file"}; store the checkpoint again`);
  }
  return filesSource(folder, name);
}

/** What is stored, by name. */
export async function storedCheckpoints(): Promise<StoredCheckpoint[]> {
  const root = await rootFolder(false);
  const list: StoredCheckpoint[] = [];
  if (root) {
    for await (const handle of root.values()) {
      const known = handle.kind === "directory" ? await record(handle as FileSystemDirectoryHandle) : null;
      if (known) list.push({ name: known.name, bytes: Object.values(known.files).reduce((sum, { size }) => sum + size, 0) });
    }
  }
  return list.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Takes a stored checkpoint away; nothing happens where there is none. */
export async function removeStoredCheckpoint(name: string): Promise<void> {
  const root = await rootFolder(false);
  await root?.removeEntry(folderName(name), { recursive: true }).catch((error: DOMException) => {
    if (error.name !== "NotFoundError") throw error;
  });
}

async function rootFolder(create: boolean): Promise<FileSystemDirectoryHandle | null> {
  const storage = globalThis.navigator?.storage;
  if (!storage?.getDirectory) throw new CogwheelError("checkpoint", "storing a checkpoint needs a browser with a private file system, got none (it is missing in some private windows and in Node); open the checkpoint where it lies");
  const top = await storage.getDirectory();
  try {
    return await top.getDirectoryHandle(ROOT, { create });
  } catch (error) {
    if ((error as DOMException).name === "NotFoundError") return null;
    throw error;
  }
}

/** Names may hold slashes and more: a folder's name is the name in the alphabet that every system takes. */
const folderName = (name: string): string => encodeURIComponent(name).replaceAll("%", "=").replaceAll(".", "=2E").replaceAll("*", "=2A").slice(0, 200);

async function folderOf(name: string, create: boolean): Promise<FileSystemDirectoryHandle | null> {
  if (name === "") throw new CogwheelError("checkpoint", "a stored checkpoint must have a name, got an empty one");
  const root = await rootFolder(create);
  try {
    return (await root?.getDirectoryHandle(folderName(name), { create })) ?? null;
  } catch (error) {
    if ((error as DOMException).name === "NotFoundError") return null;
    throw error;
  }
}

/** What was written about the stored files; null where that cannot be read, so that they are fetched again. */
async function record(folder: FileSystemDirectoryHandle): Promise<Stored | null> {
  try {
    const value: unknown = JSON.parse(await (await (await folder.getFileHandle(RECORD)).getFile()).text());
    if (!isObject(value) || typeof value["name"] !== "string" || !isObject(value["files"])) return null;
    const whole = Object.values(value["files"]).every((file) => isObject(file) && Number.isSafeInteger(file["size"]) && typeof file["sha256"] === "string");
    return whole ? (value as unknown as Stored) : null;
  } catch {
    return null;
  }
}

async function handleOf(folder: FileSystemDirectoryHandle, path: string, create: boolean): Promise<FileSystemFileHandle> {
  const parts = path.split("/");
  const file = parts.pop()!;
  let at = folder;
  for (const part of parts) at = await at.getDirectoryHandle(part, { create });
  return at.getFileHandle(file, { create });
}

async function sizeOf(folder: FileSystemDirectoryHandle, path: string): Promise<number | null> {
  try {
    return (await (await handleOf(folder, path, false)).getFile()).size;
  } catch {
    return null;
  }
}

async function remove(folder: FileSystemDirectoryHandle, path: string): Promise<void> {
  const parts = path.split("/");
  const file = parts.pop()!;
  let at = folder;
  for (const part of parts) at = await at.getDirectoryHandle(part);
  await at.removeEntry(file);
}

async function write(folder: FileSystemDirectoryHandle, path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const stream = await (await handleOf(folder, path, true)).createWritable();
  await stream.write(bytes);
  await stream.close();
}

/** Copies a file piece by piece and resolves to its SHA-256. A writable stream puts the file in place only when it is closed. */
async function copy(from: CheckpointSource, path: string, size: number, folder: FileSystemDirectoryHandle, { signal, onBytes }: { signal?: AbortSignal; onBytes: (bytes: number) => void }): Promise<string> {
  const { sha256 } = await import("@noble/hashes/sha2.js");
  const digest = sha256.create();
  const stream = await (await handleOf(folder, path, true)).createWritable();
  try {
    for (let at = 0; at < size; at += PIECE) {
      signal?.throwIfAborted();
      const bytes = await from.read(path, at, Math.min(size, at + PIECE));
      digest.update(bytes);
      await stream.write(bytes);
      onBytes(bytes.length);
    }
    await stream.close();
  } catch (error) {
    await stream.abort().catch(() => undefined);
    if ((error as DOMException).name === "QuotaExceededError") throw new CogwheelError("checkpoint", `${path} must fit the browser's storage, got a full one; remove stored checkpoints or open it where it lies`, { cause: error });
    throw error;
  }
  return Array.from(digest.digest(), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Path → SHA-256, as `SHA256SUMS` in the checkpoint's folder has them; empty where there is no such file. */
async function sha256Sums(from: CheckpointSource): Promise<Map<string, string>> {
  const sums = new Map<string, string>();
  if (!(await from.exists("SHA256SUMS"))) return sums;
  for (const line of (await readText(from, "SHA256SUMS")).split("\n")) {
    if (line.trim() === "") continue;
    const [, sum, path] = /^([0-9a-f]{64}) [ *](?:\.\/)?(.+?)\r?$/i.exec(line) ?? [];
    if (!sum || !path) throw checkpointError(from, "SHA256SUMS", `a line must be a SHA-256 and a path, got ${JSON.stringify(line.slice(0, 100))}; make it anew with sha256sum`);
    sums.set(path, sum.toLowerCase());
  }
  return sums;
}

async function refuseIfFull(bytes: number): Promise<void> {
  const { quota, usage = 0 } = await navigator.storage.estimate();
  if (quota !== undefined && bytes > quota - usage) {
    throw new CogwheelError("checkpoint", `a stored checkpoint must fit the browser's storage of ${quota - usage} bytes, got ${bytes}; free some space or open it where it lies`);
  }
}
