/**
 * Jobs in a folder of one machine. Any number of processes may work in it at once (a server, a worker for each adapter, `cogwheel queue`),
 * each may be killed at any moment, and none needs another to be there.
 *
 * ```
 * values/KEY/7      revision 7 of a value: a byte 1, then the value; an empty file says that the key was deleted
 * blobs/NAME        whole
 * hints/TIME.JOB    a hint that is free from TIME on, in milliseconds; who takes it renames it to a later time
 * changes/log       the keys that changed, a line each, for those who watch
 * parts/            what is not yet whole
 * ```
 *
 * Compare-and-set is a hard link: a revision's file is written and synced under another name, then linked to the name of the revision that
 * follows the expected one, which fails where another was faster. Links to a name, and renames, are whole or not there, on local disks and
 * on NFS.
 *
 * A durable insert takes 1.7 ms (ext4 on a virtual disk). SQLite as WebAssembly takes as long there, and only one process may have its
 * file.
 */
import { appendFile, link, mkdir, open, readdir, readFile, rename, rm, rmdir, stat, unlink, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { pause } from "../base/pause.ts";
import { removeLeftovers, temporaryName } from "../platform/leftovers-node.ts";
import type { Blobs, Change, Entry, Hint, Hints, JobBackend, KeyValues } from "./backend.ts";
import { code, isMissing, unusable } from "./folder-node.ts";
import { checkKey, checkValue } from "./keys.ts";
import { Wakes } from "./wakes-node.ts";

const FORMAT = "cogwheel-jobs/1\n";
const FOLDERS = ["values", "blobs", "hints", "changes", "parts"] as const;
type Folders = Readonly<Record<(typeof FOLDERS)[number], string>>;

/** A hint that is being worked on is free again after so long, unless `working` says that it is not. */
const CLAIM_MS = 60_000;

/**
 * An old revision stays for so long after it was followed. A process that stands still between looking at the revisions and linking the
 * next one could otherwise find that one's name free again; one that stood still for longer than STALL_MS trusts its link no more.
 */
const KEEP_MS = 20_000;
const STALL_MS = 5_000;

/** A deleted key's last revision stays for so long. */
const FORGET_MS = 24 * 3600e3;

/** Bytes of the log of changes, above which another one is begun. */
const LOG_BYTES = 4_000_000;

/** Opens a folder of jobs, or makes one where there is nothing. */
export async function openEmbedded(folder: string): Promise<JobBackend> {
  const root = resolve(folder);
  const folders = Object.fromEntries(FOLDERS.map((name) => [name, join(root, name)])) as unknown as Folders;
  try {
    await mkdir(root, { recursive: true });
    const marker = join(root, "format");
    const format = await readFile(marker, "utf8").catch(isMissing);
    const others = (await readdir(root)).filter((name) => name !== "format" && !(FOLDERS as readonly string[]).includes(name));
    if (format !== undefined ? format !== FORMAT : others.length > 0)
      throw new CogwheelError(
        "jobs",
        `the queue's folder must be new or one of ${FORMAT.trim()}, got ${root} ` +
          `${format === undefined ? `with ${others[0]!}` : `of ${JSON.stringify(format.trim().slice(0, 40))}`}; choose another --queue`,
      );
    for (const path of Object.values(folders)) await mkdir(path, { recursive: true });
    await removeLeftovers(folders.parts);
    await forgetDeleted(folders.values);
    // Written last, and found out on the way whether the file system has what all of this stands on.
    if (format === undefined) await place(folders.parts, marker, new TextEncoder().encode(FORMAT));
    await tryLink(folders.parts);
  } catch (error) {
    throw unusable(root, error);
  }
  return new EmbeddedBackend(root, folders);
}

/** Removes what is left of keys that were deleted a day ago; until then their revisions go on where they were. */
async function forgetDeleted(values: string): Promise<void> {
  for (const key of await readdir(values)) {
    const files = await readdir(join(values, key));
    const newest = files.map(Number).reduce((a, b) => Math.max(a, b), 0);
    const info = await stat(join(values, key, String(newest))).catch(isMissing);
    if (!info || info.size > 0 || Date.now() - info.ctimeMs < FORGET_MS) continue;
    for (const file of files) await rm(join(values, key, file), { force: true });
    await rmdir(join(values, key)).catch(() => undefined); // it is in use again
  }
}

async function tryLink(parts: string): Promise<void> {
  const [from, to] = [join(parts, temporaryName("link")), join(parts, temporaryName("linked"))];
  await writeFile(from, "");
  try {
    await link(from, to);
  } finally {
    await rm(from, { force: true });
    await rm(to, { force: true });
  }
}

/** Writes a file that is with the disk before it gets its name. */
async function written(parts: string, pieces: readonly Uint8Array[]): Promise<string> {
  const path = join(parts, temporaryName("value"));
  const file = await open(path, "wx");
  try {
    // One call may write less than it was given: all but the last bytes that a disk has room for.
    for (const piece of pieces) await file.writeFile(piece);
    await file.datasync();
  } catch (error) {
    // On a full disk it would take the room that is left.
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  return path;
}

/** Names that were given or taken in a folder are with the disk after this; Windows has no such call, and needs none. */
async function syncNames(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

async function place(parts: string, to: string, bytes: Uint8Array): Promise<void> {
  await rename(await written(parts, [bytes]), to);
  await syncNames(join(to, ".."));
}

class EmbeddedBackend implements JobBackend {
  readonly name: string;
  readonly #root: string;
  readonly #parts: string;
  readonly values: KeyValues;
  readonly blobs: Blobs;
  readonly hints: Hints;
  readonly #wakes: readonly Wakes[];

  constructor(root: string, folders: Folders) {
    this.name = `the folder ${root}`;
    this.#root = root;
    this.#parts = folders.parts;
    const [changed, hinted] = [new Wakes(folders.changes), new Wakes(folders.hints)];
    this.#wakes = [changed, hinted];
    this.values = new FolderValues(root, folders, changed);
    this.blobs = new FolderBlobs(root, folders);
    this.hints = new FolderHints(root, folders, hinted);
  }

  /** By the time that the file system gives to a new file. */
  async now(): Promise<number> {
    const path = join(this.#parts, temporaryName("clock"));
    try {
      await writeFile(path, "");
      return (await stat(path)).mtimeMs;
    } catch (error) {
      throw unusable(this.#root, error);
    } finally {
      await rm(path, { force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const wakes of this.#wakes) wakes[Symbol.dispose]();
  }
}

/** The newest revision of a key, and all that have a file. */
interface Revisions {
  readonly newest: number;
  readonly all: readonly number[];
}

class FolderValues implements KeyValues {
  readonly #log: string;
  /** Keys whose change could not be told, as the disk was full. */
  readonly #untold = new Set<string>();

  constructor(
    private readonly root: string,
    private readonly folders: Folders,
    private readonly wakes: Wakes,
  ) {
    this.#log = join(folders.changes, "log");
  }

  #at(key: string): string {
    checkKey(key, "a key");
    return join(this.folders.values, key);
  }

  async #revisions(folder: string): Promise<Revisions> {
    const all = ((await readdir(folder).catch(isMissing)) ?? []).map(Number).filter((n) => Number.isSafeInteger(n) && n > 0);
    return { newest: all.reduce((a, b) => Math.max(a, b), 0), all };
  }

  /** The newest revision with its value; without one where the key was deleted. */
  async #read(folder: string): Promise<{ revision: number; value: Uint8Array | undefined; all: readonly number[] }> {
    for (;;) {
      const { newest, all } = await this.#revisions(folder);
      if (newest === 0) return { revision: 0, value: undefined, all };
      const bytes = await readFile(join(folder, String(newest))).catch(isMissing);
      // What is gone was followed by another meanwhile.
      if (bytes) return { revision: newest, value: bytes.length ? new Uint8Array(bytes).subarray(1) : undefined, all };
    }
  }

  async get(key: string): Promise<Entry | undefined> {
    const { revision, value } = await this.#read(this.#at(key));
    return value && { value, revision };
  }

  async keys(prefix: string): Promise<string[]> {
    const names = (await readdir(this.folders.values)).filter((name) => name.startsWith(prefix)).sort();
    const there = await Promise.all(
      names.map(async (name) => {
        const folder = join(this.folders.values, name);
        for (;;) {
          const { newest } = await this.#revisions(folder);
          if (newest === 0) return false;
          const file = await stat(join(folder, String(newest))).catch(isMissing);
          if (file) return file.size > 0;
        }
      }),
    );
    return names.filter((_, at) => there[at]);
  }

  async put(key: string, value: Uint8Array, expected: number): Promise<number | undefined> {
    checkValue(key, value);
    return await this.#set(key, [Uint8Array.of(1), value], expected);
  }

  async delete(key: string, expected: number): Promise<boolean> {
    // A key that is not there is not deleted.
    return expected > 0 && (await this.#set(key, [], expected)) !== undefined;
  }

  async #set(key: string, pieces: readonly Uint8Array[], expected: number): Promise<number | undefined> {
    const folder = this.#at(key);
    try {
      const looked = Date.now();
      const { revision, value, all } = await this.#read(folder);
      if ((value ? revision : 0) !== expected) return undefined;
      if (revision === 0 && (await mkdir(folder, { recursive: true })) !== undefined) await syncNames(this.folders.values);
      const part = await written(this.folders.parts, pieces);
      const next = revision + 1;
      try {
        await link(part, join(folder, String(next)));
      } catch (error) {
        if (code(error) === "EEXIST") return undefined;
        throw error;
      } finally {
        await unlink(part);
      }
      if (Date.now() - looked > STALL_MS && (await this.#revisions(folder)).newest > next) return undefined;
      await syncNames(folder);
      if (all.length > 8) await this.#forget(folder, all);
      await this.#tell(key);
      return next;
    } catch (error) {
      throw unusable(this.root, error);
    }
  }

  /** Removes revisions that were followed long ago. */
  async #forget(folder: string, all: readonly number[]): Promise<void> {
    for (const revision of all.toSorted((a, b) => a - b).slice(0, -1)) {
      const follower = await stat(join(folder, String(revision + 1))).catch(isMissing);
      if (follower && Date.now() - follower.ctimeMs < KEEP_MS) return;
      await rm(join(folder, String(revision)), { force: true });
    }
  }

  async #tell(key: string): Promise<void> {
    const size = (await stat(this.#log).catch(isMissing))?.size ?? 0;
    // Others may do so at the same time: an empty log is no loss, as who watches begins at the start of a new one.
    if (size > LOG_BYTES) await rename(this.#log, `${this.#log}.old`).catch(isMissing);
    // The change is made by now, whether it can be told or not: what cannot is told with the next one.
    const lines = new Set([...this.#untold, key]);
    try {
      // It begins with an end of line, as a full disk may have cut the last one.
      await appendFile(this.#log, `${this.#untold.size ? "\n" : ""}${[...lines].join("\n")}\n`);
      for (const told of lines) this.#untold.delete(told);
    } catch {
      this.#untold.add(key);
    }
  }

  async *watch(prefix: string, signal: AbortSignal): AsyncGenerator<Change, void> {
    const end = async (): Promise<{ file: number; at: number }> => {
      const info = await stat(this.#log).catch(isMissing);
      return { file: info?.ino ?? 0, at: info?.size ?? 0 };
    };
    let seen = await end();
    const told = new Map<string, number>();
    using woken = this.wakes.listen();
    while (!signal.aborted) {
      const now = await end();
      const from = now.file === seen.file && now.at >= seen.at ? seen.at : 0;
      const text = now.at > from ? await readFrom(this.#log, from) : "";
      // A line that is not whole yet is read the next time.
      const lines = text.slice(0, text.lastIndexOf("\n") + 1);
      seen = { file: now.file, at: from + lines.length };
      for (const key of new Set(lines.split("\n").filter((line) => line !== "" && line.startsWith(prefix)))) {
        const { revision, value } = await this.#read(this.#at(key));
        if (revision === told.get(key)) continue;
        told.set(key, revision);
        yield { key, entry: value && { value, revision } };
        if (signal.aborted) return;
      }
      if (lines === "") await woken.next(signal).catch(() => undefined);
    }
  }
}

/** A file from a byte on; keys are ASCII, so that bytes are characters. */
async function readFrom(path: string, at: number): Promise<string> {
  const bytes = await readFile(path).catch(isMissing);
  return bytes ? bytes.subarray(at).toString("latin1") : "";
}

class FolderBlobs implements Blobs {
  constructor(
    private readonly root: string,
    private readonly folders: Folders,
  ) {}

  #at(name: string): string {
    checkKey(name, "the name of a blob");
    return join(this.folders.blobs, name);
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    const to = this.#at(name);
    await place(this.folders.parts, to, bytes).catch((error: unknown) => {
      throw unusable(this.root, error);
    });
  }

  async get(name: string, begin = 0, end = Number.POSITIVE_INFINITY): Promise<Uint8Array | undefined> {
    const file = await open(this.#at(name), "r").catch(isMissing);
    if (!file) return undefined;
    try {
      const { size } = await file.stat();
      const from = Math.min(Math.max(begin, 0), size);
      const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - from));
      for (let at = 0; at < bytes.length; ) {
        const { bytesRead } = await file.read(bytes, at, bytes.length - at, from + at);
        if (bytesRead === 0) throw new CogwheelError("jobs", `blob ${name} must have ${size} bytes, got its end at ${from + at}`);
        at += bytesRead;
      }
      return bytes;
    } finally {
      await file.close();
    }
  }

  async size(name: string): Promise<number | undefined> {
    return (await stat(this.#at(name)).catch(isMissing))?.size;
  }

  async delete(name: string): Promise<void> {
    await rm(this.#at(name), { force: true });
  }
}

const hintName = (job: string, freeAt: number): string => `${String(Math.max(0, Math.round(freeAt))).padStart(13, "0")}.${job}`;

class FolderHints implements Hints {
  constructor(
    private readonly root: string,
    private readonly folders: Folders,
    private readonly wakes: Wakes,
  ) {}

  async push(job: string): Promise<void> {
    checkKey(job, "a key");
    const now = Date.now();
    // One that is free is enough: sweeps hint at every job that waits.
    if ((await readdir(this.folders.hints)).some((name) => name.slice(14) === job && Number(name.slice(0, 13)) <= now)) return;
    await writeFile(join(this.folders.hints, hintName(job, now)), "").catch((error: unknown) => {
      throw unusable(this.root, error);
    });
  }

  async pull(signal: AbortSignal): Promise<Hint> {
    using woken = this.wakes.listen();
    for (;;) {
      signal.throwIfAborted();
      const now = Date.now();
      const found = await readdir(this.folders.hints).catch((error: unknown) => {
        throw unusable(this.root, error);
      });
      const names = found.sort();
      const free = names.filter((name) => Number(name.slice(0, 13)) <= now);
      for (const name of free) {
        const taken = await this.#claim(name);
        if (taken) return taken;
      }
      // Others' changes wake, and the next one that becomes free does.
      const next = names.find((name) => Number(name.slice(0, 13)) > now);
      const wait = next === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Number(next.slice(0, 13)) - Date.now());
      if (free.length === 0) await woken.next(signal, wait);
      else await pause(1, signal);
    }
  }

  /** A hint, unless another was faster. */
  async #claim(name: string): Promise<Hint | undefined> {
    const job = name.slice(14);
    let at = name;
    const move = async (freeAt: number): Promise<boolean> => {
      const to = hintName(job, freeAt);
      try {
        await rename(join(this.folders.hints, at), join(this.folders.hints, to));
      } catch (error) {
        if (code(error) === "ENOENT") return false; // it became free, and another took it
        throw unusable(this.root, error);
      }
      at = to;
      return true;
    };
    if (!(await move(Date.now() + CLAIM_MS))) return undefined;
    return {
      job,
      working: async () => void (await move(Date.now() + CLAIM_MS)),
      done: () => rm(join(this.folders.hints, at), { force: true }),
      release: async (delayMs = 0) => void (await move(Date.now() + delayMs)),
    };
  }
}
