/** What the functions of stored.ts do. See stored-folder.ts for what they leave on the disk. */
import { CogwheelError } from "../base/errors.ts";
import { hex } from "../base/hex.ts";
import { neededFiles } from "../checkpoint/needed-files.ts";
import { storedFiles } from "../sources/picked.ts";
import { checkpointError, readText, type CheckpointSource } from "../sources/source.ts";
import type { StoredCheckpoint, StoreOptions } from "./store-options.ts";
import { alone, noRoom, room, storageError, StoredFolder, type StoredFile, type StoredRecord } from "../sources/stored-folder.ts";

/** Bytes asked for at once, where the source does not say how many: a request has a price. */
const PIECE = 32 << 20;

export async function store(
  from: CheckpointSource,
  name: string,
  { signal, onProgress, ...what }: StoreOptions = {},
): Promise<CheckpointSource> {
  const { files, missing } = await neededFiles(from, { only: ["text_encoder", "tokenizer", "transformer", "vae", "scheduler"], ...what });
  if (missing.length)
    throw checkpointError(
      from,
      missing[0]!,
      `the files that a checkpoint needs must exist, got none for ${missing.join(", ")}; check the folder`,
    );
  const sums = await sha256Sums(from);
  let bytes = 0;
  const wanted = new Map<string, Wanted>();
  for (const path of files) {
    const size = await from.size(path);
    wanted.set(path, { size, version: (await from.version?.(path)) ?? null, sha256: sums.get(path) });
    bytes += size;
  }
  try {
    // Refused by the browser in many ways, and no condition for anything: without it, it may take the files away when the disk is full.
    await navigator.storage?.persist?.().catch(() => false);
    return await alone(name, { wait: true, signal }, async () => {
      const folder = (await StoredFolder.of(name, true))!;
      await fill(folder, from, wanted, { signal, onProgress });
      return (await open(folder))!;
    });
  } catch (error) {
    signal?.throwIfAborted();
    throw await storageError(error, bytes);
  }
}

export async function stored(name: string): Promise<CheckpointSource | null> {
  try {
    const folder = await StoredFolder.of(name, false);
    return folder && (await open(folder));
  } catch (error) {
    throw await storageError(error, 0);
  }
}

export async function all(): Promise<StoredCheckpoint[]> {
  try {
    const list: StoredCheckpoint[] = [];
    for (const folder of await StoredFolder.all()) {
      const [stored, partial] = [await folder.stored(), await folder.partial()];
      const contents = new Map(
        [stored, partial].flatMap((record) => Object.values(record?.files ?? {})).map((file) => [file.content, file.size]),
      );
      list.push({ name: folder.name, bytes: [...contents.values()].reduce((sum, size) => sum + size, 0), whole: stored !== null });
    }
    return list.sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    throw await storageError(error, 0);
  }
}

export async function remove(name: string): Promise<void> {
  try {
    await alone(name, { wait: false }, () => StoredFolder.remove(name));
  } catch (error) {
    throw await storageError(error, 0);
  }
}

/** What a file is at its source. */
interface Wanted {
  readonly size: number;
  readonly version: string | null;
  readonly sha256: string | undefined;
}

/** Sees to it that the folder holds these files. */
async function fill(
  folder: StoredFolder,
  from: CheckpointSource,
  wanted: ReadonlyMap<string, Wanted>,
  { signal, onProgress }: { signal: AbortSignal | undefined; onProgress: StoreOptions["onProgress"] },
): Promise<void> {
  const [before, begun] = [await folder.stored(), await folder.partial()];
  const have: Record<string, StoredFile> = {};
  let total = 0;
  let done = 0;
  for (const [path, want] of wanted) {
    total += want.size;
    for (const found of [begun?.files[path], before?.files[path]]) {
      if (!found || !isSame(found, want) || (await folder.content(found))?.file.size !== want.size) continue;
      have[path] = found;
      done += want.size;
      break;
    }
  }
  await folder.sweep(have, before?.files ?? {});
  const free = await room();
  if (free !== undefined && total - done > free) {
    // What it is to replace makes room for it, where that is enough.
    const kept = new Set(Object.values(have).map(({ content }) => content));
    const replaced = Object.values(before?.files ?? {}).reduce((sum, { content, size }) => sum + (kept.has(content) ? 0 : size), 0);
    if (total - done > free + replaced) throw noRoom(total - done, free);
    await folder.drop(have);
  }
  for (const [path, want] of wanted) {
    if (!have[path]) {
      const began = done;
      const copied = await copy(folder, from, path, want, signal, (bytes) => onProgress?.((done += bytes), total, path)).catch(
        async (error: unknown) => {
          // It could not be gone on with, and takes the room of what could be removed instead.
          if ((error as DOMException).name === "QuotaExceededError")
            await (before ? folder.sweep(before.files) : StoredFolder.remove(folder.name)).catch(() => undefined);
          throw error;
        },
      );
      done = began + want.size;
      have[path] = copied;
      await folder.keepPartial(have);
    }
    onProgress?.(done, total, path);
    signal?.throwIfAborted();
  }
  await folder.keep(have);
}

/** Whether a content is what the source has now. */
const isSame = (found: StoredFile, want: Wanted): boolean =>
  found.size === want.size &&
  (want.sha256 === undefined ? want.version !== null && found.version === want.version : found.sha256 === want.sha256);

/** Copies a file piece by piece; while one is hashed and written the next comes. */
async function copy(
  folder: StoredFolder,
  from: CheckpointSource,
  path: string,
  { size, version, sha256: want }: Wanted,
  signal: AbortSignal | undefined,
  onBytes: (bytes: number) => void,
): Promise<StoredFile> {
  const { sha256 } = await import("@noble/hashes/sha2.js");
  const digest = sha256.create();
  let sum = "";
  const content = await folder.add(async (write) => {
    const piece = from.pieceBytes ?? PIECE;
    const read = (at: number): Promise<Uint8Array<ArrayBuffer>> => {
      const bytes = from.read(path, at, Math.min(size, at + piece));
      bytes.catch(() => undefined); // told where it is awaited, unless writing fails first
      return bytes;
    };
    for (let at = 0, next = size > 0 ? read(0) : undefined; next; at += piece) {
      signal?.throwIfAborted();
      const bytes = await next;
      next = at + piece < size ? read(at + piece) : undefined;
      digest.update(bytes);
      await write(bytes);
      onBytes(bytes.length);
    }
    sum = hex(digest.digest());
    if (want !== undefined && want !== sum)
      throw checkpointError(
        from,
        path,
        `the SHA-256 must be ${want} as SHA256SUMS says, got ${sum}; the file was damaged on its way, store it again`,
      );
  });
  return { content, size, sha256: sum, version };
}

/** The folder's files as a source; null where it is not whole. */
async function open(folder: StoredFolder): Promise<CheckpointSource | null> {
  for (let record: StoredRecord | null, last = ""; (record = await folder.stored()); ) {
    const files = new Map<string, { file: File; handle: FileSystemFileHandle }>();
    let wrong: string | undefined;
    for (const [path, stored] of Object.entries(record.files)) {
      const content = await folder.content(stored);
      if (content?.file.size === stored.size) files.set(path, content);
      else
        wrong =
          `${path} of the stored ${JSON.stringify(folder.name)} must have ${stored.size} bytes, ` +
          `got ${content?.file.size ?? "no file"}; store the checkpoint again`;
    }
    if (wrong === undefined) return storedFiles(files, folder.name);
    // Another tab may have replaced it between the record and the files.
    const seen = JSON.stringify(record);
    if (seen === last) throw new CogwheelError("checkpoint", wrong);
    last = seen;
  }
  return null;
}

/** Path → SHA-256, as `SHA256SUMS` in the checkpoint's folder has them; empty where there is no such file. */
async function sha256Sums(from: CheckpointSource): Promise<Map<string, string>> {
  const sums = new Map<string, string>();
  if (!(await from.exists("SHA256SUMS"))) return sums;
  for (const line of (await readText(from, "SHA256SUMS")).split("\n")) {
    if (line.trim() === "") continue;
    const [, sum, path] = /^([0-9a-f]{64}) [ *](?:\.\/)?(.+?)\r?$/i.exec(line) ?? [];
    if (!sum || !path)
      throw checkpointError(
        from,
        "SHA256SUMS",
        `a line must be a SHA-256 and a path, got ${JSON.stringify(line.slice(0, 100))}; make it anew with sha256sum`,
      );
    sums.set(path, sum.toLowerCase());
  }
  return sums;
}
