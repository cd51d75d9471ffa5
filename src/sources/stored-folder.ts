/**
 * Where the browser's private file system keeps a checkpoint:
 *
 *   cogwheel/‹SHA-256 of the name›/files/‹random›   the files' contents, each written once and never again
 *   cogwheel/‹…›/partial.json                       what a store that is under way, or was stopped, has so far
 *   cogwheel/‹…›/stored.json                        written last, and as a whole: which content each path has
 *
 * So a store is there whole or not at all, and one that is replaced stays as it was until the new one is whole.
 */
import { isObject } from "../base/json-scan.ts";
import { CogwheelError } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import { bytesText } from "../base/units.ts";

const ROOT = "cogwheel";
const FILES = "files";
const STORED = "stored.json";
const PARTIAL = "partial.json";
/** Of the records. Folders of an earlier layout could hold half of a checkpoint, or another's under a name that was cut: they go. */
const LAYOUT = 2;

/** One file of a stored checkpoint. */
export interface StoredFile {
  /** The name of its content in `files`. */
  readonly content: string;
  readonly size: number;
  readonly sha256: string;
  /** What its source told its content by when it was copied; null where the source had no such thing. */
  readonly version: string | null;
}

/** A record: the checkpoint's whole name, and its files by path. */
export interface StoredRecord {
  readonly name: string;
  readonly files: Readonly<Record<string, StoredFile>>;
}

/** A checkpoint's folder in the browser's storage. */
export class StoredFolder {
  private constructor(
    readonly name: string,
    readonly handle: FileSystemDirectoryHandle,
  ) {}

  /** The folder of a name; null where there is none and none is to be made. */
  static async of(name: string, create: boolean): Promise<StoredFolder | null> {
    if (name === "") throw new CogwheelError("checkpoint", "a stored checkpoint must have a name, got an empty one");
    const root = await rootFolder(create);
    const handle = root && (await root.getDirectoryHandle(await folderName(name), { create }).catch(unlessMissing));
    return handle ? new StoredFolder(name, handle) : null;
  }

  /** All folders, by the name that their records have. Those that have none are left out. */
  static async all(): Promise<StoredFolder[]> {
    const root = await rootFolder(false);
    const found: StoredFolder[] = [];
    if (root) {
      for await (const handle of root.values()) {
        if (handle.kind !== "directory") continue;
        const directory = handle as FileSystemDirectoryHandle;
        const known = (await readRecord(directory, STORED)) ?? (await readRecord(directory, PARTIAL));
        if (known && (await folderName(known.name)) === handle.name) found.push(new StoredFolder(known.name, directory));
      }
    }
    return found;
  }

  /** Takes the folder of a name away; nothing happens where there is none. */
  static async remove(name: string): Promise<void> {
    const root = await rootFolder(false);
    await root?.removeEntry(await folderName(name), { recursive: true }).catch(unlessMissing);
  }

  /** What is stored; null where the checkpoint is not whole. */
  stored(): Promise<StoredRecord | null> {
    return this.#record(STORED);
  }

  /** What an unfinished store has. */
  partial(): Promise<StoredRecord | null> {
    return this.#record(PARTIAL);
  }

  async #record(file: string): Promise<StoredRecord | null> {
    const found = await readRecord(this.handle, file);
    // Two names with one hash have never been seen; names that no UTF-8 tells apart can be made.
    if (found && found.name !== this.name)
      throw new CogwheelError(
        "checkpoint",
        `a stored checkpoint must have a name of its own, got ${JSON.stringify(this.name)}, ` +
          `which is kept as ${JSON.stringify(found.name)}; choose another name`,
      );
    return found;
  }

  async keepPartial(files: StoredRecord["files"]): Promise<void> {
    await this.#write(PARTIAL, { name: this.name, files });
  }

  /** The checkpoint is whole: from now on it is these files, and what else there is goes. */
  async keep(files: StoredRecord["files"]): Promise<void> {
    await this.#write(STORED, { name: this.name, files });
    await this.handle.removeEntry(PARTIAL).catch(unlessMissing);
    await this.sweep(files);
  }

  /** The checkpoint is no longer whole, so that what is not in `files` can make room. */
  async drop(files: StoredRecord["files"]): Promise<void> {
    await this.keepPartial(files);
    await this.handle.removeEntry(STORED).catch(unlessMissing);
    await this.sweep(files);
  }

  /** Removes the contents that no file has. */
  async sweep(...kept: readonly StoredRecord["files"][]): Promise<void> {
    const names = new Set(kept.flatMap((files) => Object.values(files).map(({ content }) => content)));
    const contents = await this.#contents();
    const found: string[] = [];
    for await (const { name } of contents.values()) if (!names.has(name)) found.push(name);
    for (const name of found) await contents.removeEntry(name).catch(unlessMissing);
  }

  #contents(): Promise<FileSystemDirectoryHandle> {
    return this.handle.getDirectoryHandle(FILES, { create: true });
  }

  /** A content; null where it is not there. */
  async content({ content }: StoredFile): Promise<{ readonly file: File; readonly handle: FileSystemFileHandle } | null> {
    const folder = await this.handle.getDirectoryHandle(FILES).catch(unlessMissing);
    const handle = await folder?.getFileHandle(content).catch(unlessMissing);
    const file = await handle?.getFile().catch(unlessMissing);
    return file ? { file, handle: handle! } : null;
  }

  /** Makes a content of what `fill` writes; it is there once `fill` is done, and not at all where `fill` throws. */
  async add(fill: (write: (bytes: Uint8Array<ArrayBuffer>) => Promise<void>) => Promise<void>): Promise<string> {
    const name = crypto.randomUUID();
    const contents = await this.#contents();
    const stream = await (await contents.getFileHandle(name, { create: true })).createWritable();
    try {
      await fill((bytes) => stream.write(bytes));
      await stream.close();
      return name;
    } catch (error) {
      await stream.abort().catch(() => undefined);
      await contents.removeEntry(name).catch(() => undefined);
      throw error;
    }
  }

  /** A writable stream puts the file in place only when it is closed. */
  async #write(file: string, record: StoredRecord): Promise<void> {
    const stream = await (await this.handle.getFileHandle(file, { create: true })).createWritable();
    await stream.write(new TextEncoder().encode(JSON.stringify({ layout: LAYOUT, ...record })));
    await stream.close();
  }
}

/** Does `work` while no other tab works on the same name. `wait` false: refuses where one does. */
export async function alone<T>(
  name: string,
  { wait, signal }: { wait: boolean; signal?: AbortSignal | undefined },
  work: () => Promise<T>,
): Promise<T> {
  // Without locks (some embedded browsers) two tabs at once cost work: each writes contents of its own.
  if (!globalThis.navigator?.locks) return work();
  const options: LockOptions = wait ? (signal ? { signal } : {}) : { ifAvailable: true };
  return navigator.locks.request(`${ROOT} ${await folderName(name)}`, options, async (lock) => {
    if (!lock)
      throw new CogwheelError(
        "checkpoint",
        `${JSON.stringify(name)} must not be stored while it is removed, got another tab that stores it; wait for it, or close it`,
      );
    return work();
  }) as Promise<T>;
}

/** The browser's own errors as words, with how much room there is. */
export async function storageError(error: unknown, bytes: number): Promise<unknown> {
  if (!(error instanceof DOMException) || error.name === "AbortError") return error;
  if (error.name !== "QuotaExceededError") {
    return new CogwheelError(
      "checkpoint",
      `the browser's storage must be usable, got ${error.name}: ${error.message}; ` +
        "close other tabs of this page, or open the checkpoint where it lies",
      { cause: error },
    );
  }
  return noRoom(bytes, await room(), error);
}

export function noRoom(bytes: number, free: number | undefined, cause?: unknown): CogwheelError {
  return new CogwheelError(
    "checkpoint",
    "a stored checkpoint must fit the browser's storage, " +
      `got ${bytesText(bytes, 1)} to store${free === undefined ? "" : ` and room for ${bytesText(Math.max(0, free), 1)}`}; ` +
      "remove stored checkpoints, free some of the disk, or open it where it lies",
    cause === undefined ? undefined : { cause },
  );
}

/** Bytes that may still be stored, as far as the browser tells. */
export async function room(): Promise<number | undefined> {
  const { quota, usage = 0 } = (await navigator.storage.estimate?.()) ?? {};
  return quota === undefined ? undefined : quota - usage;
}

async function rootFolder(create: boolean): Promise<FileSystemDirectoryHandle | null> {
  const storage = globalThis.navigator?.storage;
  if (!storage?.getDirectory)
    throw new CogwheelError(
      "checkpoint",
      "storing a checkpoint needs a browser with a private file system, " +
        "got none (it is missing in some private windows and in Node); open the checkpoint where it lies",
    );
  const root = await (await storage.getDirectory()).getDirectoryHandle(ROOT, { create }).catch(unlessMissing);
  if (root) await removeEarlierLayouts(root);
  return root;
}

async function removeEarlierLayouts(root: FileSystemDirectoryHandle): Promise<void> {
  const found: string[] = [];
  for await (const { name } of root.values()) if (!/^[0-9a-f]{64}$/.test(name)) found.push(name);
  for (const name of found) await root.removeEntry(name, { recursive: true }).catch(unlessMissing);
}

/** Names may be of any length and hold slashes and more; what they become has neither, and is another for another name. */
const folderName = (name: string): Promise<string> => sha256(new TextEncoder().encode(name));

/** A record; null where it is not there or cannot be read, so that its files are fetched again. */
async function readRecord(folder: FileSystemDirectoryHandle, file: string): Promise<StoredRecord | null> {
  let value: unknown;
  try {
    value = JSON.parse(await (await (await folder.getFileHandle(file)).getFile()).text());
  } catch {
    return null;
  }
  if (!isObject(value) || value["layout"] !== LAYOUT || typeof value["name"] !== "string" || !isObject(value["files"])) return null;
  const good = (entry: unknown): boolean =>
    isObject(entry) &&
    Number.isSafeInteger(entry["size"]) &&
    typeof entry["content"] === "string" &&
    typeof entry["sha256"] === "string" &&
    (entry["version"] === null || typeof entry["version"] === "string");
  return Object.values(value["files"]).every(good) ? (value as unknown as StoredRecord) : null;
}

const unlessMissing = (error: DOMException): null => {
  if (error.name === "NotFoundError") return null;
  throw error;
};
