/**
 * Jobs in a folder of one machine. Any number of processes may work in it at once (a server, a worker for each adapter, `cogwheel queue`),
 * each may be killed at any moment, and none needs another to be there.
 *
 * ```
 * values/KEY/7      revision 7 of a value (folder-values-node.ts)
 * blobs/NAME        whole
 * hints/TIME.JOB    a hint that is free from TIME on, in milliseconds; who takes it renames it to a later time
 * changes/log       what changed, a line each, for those who watch (change-log-node.ts)
 * parts/            what is not yet whole
 * ```
 *
 * A durable insert takes 1.7 ms (ext4 on a virtual disk). SQLite as WebAssembly takes as long there, and only one process may have its
 * file.
 */
import { link, mkdir, open, readdir, readFile, rename, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { pause } from "../base/pause.ts";
import { removeLeftovers, temporaryName } from "../platform/leftovers-node.ts";
import type { Blobs, Hint, Hints, JobBackend, Sync } from "./backend.ts";
import { ChangeLog } from "./change-log-node.ts";
import { code, isMissing, Names, place, unusable } from "./folder-node.ts";
import { FolderValues } from "./folder-values-node.ts";
import { checkKey } from "./keys.ts";
import { Wakes } from "./wakes-node.ts";

const FORMAT = "cogwheel-jobs/1\n";
const FOLDERS = ["values", "blobs", "hints", "changes", "parts"] as const;
type Folders = Readonly<Record<(typeof FOLDERS)[number], string>>;

/** A hint that is being worked on is free again after so long, unless `working` says that it is not. */
const CLAIM_MS = 60_000;

/** A deleted key's last revision stays for so long. */
const FORGET_MS = 24 * 3600e3;

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
    if (format === undefined) {
      await using names = new Names(root);
      await place(folders.parts, names, "format", new TextEncoder().encode(FORMAT), "synced");
    }
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

class EmbeddedBackend implements JobBackend {
  readonly name: string;
  readonly #root: string;
  readonly #parts: string;
  readonly values: FolderValues;
  readonly blobs: FolderBlobs;
  readonly hints: Hints;
  readonly #log: ChangeLog;
  readonly #wakes: readonly Wakes[];

  constructor(root: string, folders: Folders) {
    this.name = `the folder ${root}`;
    this.#root = root;
    this.#parts = folders.parts;
    const [changed, hinted] = [new Wakes(folders.changes), new Wakes(folders.hints)];
    this.#wakes = [changed, hinted];
    this.#log = new ChangeLog(folders.changes, changed);
    this.values = new FolderValues(root, folders.values, folders.parts, this.#log);
    this.blobs = new FolderBlobs(root, folders.blobs, folders.parts);
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
    await this.#log[Symbol.asyncDispose]();
    await this.values[Symbol.asyncDispose]();
    await this.blobs[Symbol.asyncDispose]();
    for (const wakes of this.#wakes) wakes[Symbol.dispose]();
  }
}

class FolderBlobs implements Blobs, AsyncDisposable {
  readonly #names: Names;

  constructor(
    private readonly root: string,
    folder: string,
    private readonly parts: string,
  ) {
    this.#names = new Names(folder);
  }

  #at(name: string): string {
    checkKey(name, "the name of a blob");
    return join(this.#names.folder, name);
  }

  async put(name: string, bytes: Uint8Array, sync: Sync = "synced"): Promise<void> {
    checkKey(name, "the name of a blob");
    await place(this.parts, this.#names, name, bytes, sync).catch((error: unknown) => {
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#names[Symbol.asyncDispose]();
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
