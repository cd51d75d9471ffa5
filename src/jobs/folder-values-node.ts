/**
 * Values in a folder: `KEY/7` is revision 7 of a value, a byte 1 and then the value; an empty file says that the key was deleted.
 *
 * Compare-and-set is a hard link: a revision's file is written under another name, then linked to the name of the revision that follows the
 * expected one, which fails where another was faster. Links to a name, and renames, are whole or not there, on local disks and on NFS.
 */
import { link, mkdir, readdir, readFile, rm, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { onAbort } from "../base/linked-abort.ts";
import type { Change, Entry, KeyValues, Sync } from "./backend.ts";
import type { ChangeLog } from "./change-log-node.ts";
import { code, isMissing, Names, syncNames, unusable, written } from "./folder-node.ts";
import { checkKey, checkValue } from "./keys.ts";

/**
 * An old revision stays for so long after it was followed. A process that stands still between looking at the revisions and linking the
 * next one could otherwise find that one's name free again; one that stood still for longer than STALL_MS trusts its link no more.
 */
const KEEP_MS = 20_000;
const STALL_MS = 5_000;
/** A key has about so many files of revisions that were followed, before the old ones are looked for. */
const SOME = 8;

/** Small values that this process has seen last are not read again. */
const KNOWN = 256;
const KNOWN_BYTES = 16_384;

/** A revision with its value; without one where the key was deleted. Revision 0: the key was never there. */
interface Revision {
  readonly revision: number;
  readonly value: Uint8Array | undefined;
}

/** By the machine's clock, which may be set, and by the process's, which stands still while the machine sleeps. */
interface Moment {
  readonly wall: number;
  readonly steady: number;
}

const thisMoment = (): Moment => ({ wall: Date.now(), steady: performance.now() });
/** Milliseconds at the most since a moment; a clock that was set back counts as time that went by. */
const since = ({ wall, steady }: Moment): number => Math.max(Math.abs(Date.now() - wall), performance.now() - steady);

/** The newest that was there at a moment. */
interface Known extends Revision {
  readonly at: Moment;
}

export class FolderValues implements KeyValues, AsyncDisposable {
  readonly #names: Names;
  readonly #known = new Map<string, Known>();

  /** @param root of the queue @param folder of the values @param parts of what is not yet whole */
  constructor(
    private readonly root: string,
    private readonly folder: string,
    private readonly parts: string,
    private readonly log: ChangeLog,
  ) {
    this.#names = new Names(folder);
  }

  #at(key: string): string {
    checkKey(key, "a key");
    return join(this.folder, key);
  }

  async get(key: string): Promise<Entry | undefined> {
    const { revision, value } = await this.#newest(key);
    return value && { value, revision };
  }

  async #newest(key: string): Promise<Known> {
    const folder = this.#at(key);
    for (;;) {
      const at = thisMoment();
      const revision = newestOf(await revisions(folder));
      if (revision === 0) return { revision, value: undefined, at };
      const value = await this.#read(key, revision);
      // What is gone was followed by another meanwhile.
      if (value !== "gone") return this.#know(key, { revision, value, at });
    }
  }

  /** Of a revision, which never changes. */
  async #read(key: string, revision: number): Promise<Uint8Array | undefined | "gone"> {
    const known = this.#known.get(key);
    if (known?.revision === revision) return known.value;
    const bytes = await readFile(join(this.#at(key), String(revision))).catch(isMissing);
    return bytes ? (bytes.length ? new Uint8Array(bytes).subarray(1) : undefined) : "gone";
  }

  #know(key: string, known: Known): Known {
    this.#known.delete(key);
    if ((known.value?.length ?? 0) <= KNOWN_BYTES) {
      if (this.#known.size >= KNOWN) this.#known.delete(this.#known.keys().next().value!);
      this.#known.set(key, known);
    }
    return known;
  }

  async keys(prefix: string): Promise<string[]> {
    const names = (await readdir(this.folder)).filter((name) => name.startsWith(prefix)).sort();
    const there = await Promise.all(
      names.map(async (name) => {
        const folder = join(this.folder, name);
        for (;;) {
          const newest = newestOf(await revisions(folder));
          if (newest === 0) return false;
          const file = await stat(join(folder, String(newest))).catch(isMissing);
          if (file) return file.size > 0;
        }
      }),
    );
    return names.filter((_, at) => there[at]);
  }

  async put(key: string, value: Uint8Array, expected: number, sync: Sync = "synced"): Promise<number | undefined> {
    checkValue(key, value);
    return await this.#set(key, value, expected, sync);
  }

  async delete(key: string, expected: number, sync: Sync = "synced"): Promise<boolean> {
    // A key that is not there is not deleted.
    return expected > 0 && (await this.#set(key, undefined, expected, sync)) !== undefined;
  }

  async #set(key: string, value: Uint8Array | undefined, expected: number, sync: Sync): Promise<number | undefined> {
    const folder = this.#at(key);
    const isExpected = ({ revision, value: there }: Revision): boolean => (there ? revision : 0) === expected;
    try {
      let before = this.#known.get(key);
      // What was the newest a moment ago need not be looked for: if it was followed, the name of the next one is taken.
      if (!before || !isExpected(before) || since(before.at) > STALL_MS / 2) before = await this.#newest(key);
      if (!isExpected(before)) return undefined;
      const first = before.revision === 0;
      if (first) await mkdir(folder, { recursive: true });
      const part = await written(this.parts, fileOf(value), sync);
      const next = before.revision + 1;
      const at = thisMoment();
      try {
        await link(part, join(folder, String(next)));
      } catch (error) {
        if (code(error) !== "EEXIST") throw error;
        this.#known.delete(key);
        return undefined;
      } finally {
        await unlink(part);
      }
      if (since(before.at) > STALL_MS && newestOf(await revisions(folder)) > next) return undefined;
      this.#know(key, { revision: next, value: value?.slice(), at });
      if (sync === "synced") await Promise.all([syncNames(folder), ...(first ? [this.#names.sync()] : [])]);
      if (next % SOME === 0) await this.#forget(folder);
      await this.log.tell(key, next);
      return next;
    } catch (error) {
      throw unusable(this.root, error);
    }
  }

  /** Removes revisions that were followed long ago. */
  async #forget(folder: string): Promise<void> {
    let synced = false;
    for (const revision of (await revisions(folder)).sort((a, b) => a - b).slice(0, -1)) {
      const follower = await stat(join(folder, String(revision + 1))).catch(isMissing);
      if (follower && Date.now() - follower.ctimeMs < KEEP_MS) return;
      // Those that followed may be `ordered`: their names are with the disk before an old one is gone.
      if (!synced) await syncNames(folder);
      synced = true;
      await rm(join(folder, String(revision)), { force: true });
    }
  }

  async *watch(prefix: string, signal: AbortSignal): AsyncGenerator<Change, void> {
    /** The newest of each that was heard of since it was looked at. */
    const heard = new Map<string, number>();
    const told = new Map<string, number>();
    let wake = (): void => undefined;
    using _listening = await this.log.listen((key, revision) => {
      if (!key.startsWith(prefix)) return;
      heard.set(key, Math.max(revision, heard.get(key) ?? 0));
      wake();
    });
    using _ended = onAbort(signal, () => wake());
    while (!signal.aborted) {
      for (const [key, revision] of heard) {
        heard.delete(key);
        const before = told.get(key);
        if (revision === before) continue;
        // What comes late, or first, may have been followed already.
        const follows = before !== undefined && revision > before;
        const change = follows ? { revision, value: await this.#read(key, revision) } : await this.#newest(key);
        const now = change.value === "gone" ? await this.#newest(key) : { ...change, value: change.value };
        if (now.revision === before) continue;
        told.set(key, now.revision);
        yield { key, entry: now.value && { value: now.value, revision: now.revision } };
        if (signal.aborted) return;
      }
      if (heard.size === 0 && !signal.aborted)
        await new Promise<void>((done) => {
          wake = done;
        });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#names[Symbol.asyncDispose]();
  }
}

/** The revisions of a key that have a file. */
async function revisions(folder: string): Promise<number[]> {
  return ((await readdir(folder).catch(isMissing)) ?? []).map(Number).filter((n) => Number.isSafeInteger(n) && n > 0);
}

const newestOf = (all: readonly number[]): number => all.reduce((a, b) => Math.max(a, b), 0);

function fileOf(value: Uint8Array | undefined): Uint8Array {
  if (!value) return new Uint8Array();
  const bytes = new Uint8Array(1 + value.length);
  bytes[0] = 1;
  bytes.set(value, 1);
  return bytes;
}
