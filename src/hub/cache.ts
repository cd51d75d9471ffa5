/**
 * The cache that all clients of the hub share: a folder a repository, in it `blobs/<hash>` with the bytes, `snapshots/<commit>`
 * with a tree of links to them, and `refs/<branch>` with the commit that a branch was when it was last asked for.
 */
import { isObject } from "../base/json-scan.ts";
import { randomUUID } from "node:crypto";
import { copyFile, link, mkdir, open, readFile, realpath, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { checkPath } from "../sources/source.ts";
import { isCommit } from "./id.ts";
import { beginDigest, digestFile } from "./digest.ts";
import type { Digest } from "./digest.ts";

/** A file as the hub lists it. */
export interface RemoteFile {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** The name of its blob. */
  readonly blob: string;
  /** Null where the hub tells none that can be computed. */
  readonly digest: Digest | null;
}

/** Options of {@link HubCache.holds}. */
export interface CheckOptions {
  /** Compare with the hash even when the file did not change since it was last compared. */
  recheck?: boolean;
  signal?: AbortSignal;
  /** Called for each piece of a file that is compared. */
  onBytes?: (bytes: number) => void;
}

/** One repository's folder in the cache. */
export class HubCache {
  readonly folder: string;
  /** Size and time of the files that were compared with their hashes, by path: they are compared again when these change. */
  #checked: Record<string, string> | null = null;

  /** @param folder `models--org--name` within the cache */
  constructor(folder: string) {
    this.folder = folder;
  }

  /** The file that says which process downloads. */
  get lock(): string {
    return join(dirname(this.folder), ".locks", basename(this.folder), "cogwheel.lock");
  }

  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  blob(name: string): string {
    return join(this.folder, "blobs", name);
  }

  /** A blob that is not whole yet. Other clients write `.incomplete` files, and may append to them at any time. */
  part(name: string): string {
    return `${this.blob(name)}.cogwheel-part`;
  }

  /** Bytes of an unfinished download. */
  async partSize(name: string): Promise<number> {
    return (await stat(this.part(name)).catch(() => null))?.size ?? 0;
  }

  /** The commit that a revision was when it was last asked for, or null. */
  async commit(revision: string): Promise<string | null> {
    if (isCommit(revision)) return revision;
    const text = await readFile(join(this.folder, "refs", revision), "utf8").catch(() => "");
    return isCommit(text.trim()) ? text.trim() : null;
  }

  /** Keeps which commit a revision is. A cache that cannot be written to goes without. */
  async keepCommit(revision: string, commit: string): Promise<void> {
    if (isCommit(revision) || (await this.commit(revision)) === commit) return;
    await writeWhole(join(this.folder, "refs", revision), commit).catch(() => undefined);
  }

  /** Whether a snapshot has a file, in its size and, unless it did not change since the last look, with its hash. */
  async holds(commit: string, file: RemoteFile, options: CheckOptions = {}): Promise<boolean> {
    checkPath({ label: this.folder }, file.path);
    return this.#isWhole(join(this.snapshot(commit), file.path), file, options);
  }

  /** Whether a blob is whole, apart from any snapshot. */
  async holdsBlob(file: RemoteFile, options: CheckOptions = {}): Promise<boolean> {
    return this.#isWhole(this.blob(file.blob), file, options);
  }

  /** What a file of a snapshot must be, by its blob's name; null when it is not there. */
  async remembered(commit: string, path: string): Promise<RemoteFile | null> {
    const real = await realpath(join(this.snapshot(commit), path)).catch(() => null);
    if (real === null) return null;
    const blob = basename(real);
    const algorithm =
      basename(dirname(real)) !== "blobs" ? null : /^[0-9a-f]{64}$/.test(blob) ? "sha256" : /^[0-9a-f]{40}$/.test(blob) ? "git-sha1" : null;
    return { path, size: (await stat(real)).size, blob, digest: algorithm && { algorithm, value: blob } };
  }

  async #isWhole(path: string, { size, digest, blob }: RemoteFile, { recheck = false, signal, onBytes }: CheckOptions): Promise<boolean> {
    const real = await realpath(path).catch(() => null);
    const info = real === null ? null : await stat(real);
    if (real === null || !info?.isFile() || info.size !== size) return false;
    // Nothing but its name tells the content of such a file. One that stands in the snapshot itself is a commit's, and that one's file.
    if (digest === null) return basename(dirname(real)) !== "blobs" || basename(real) === blob;
    const key = await this.#key(real);
    const mark = markOf(digest, info);
    this.#checked ??= await this.#readChecked();
    if (!recheck && this.#checked[key] === mark) return true;
    // Another process may have compared it since.
    if (!recheck && this.#checked[key] !== "" && (await this.#readChecked())[key] === mark) return true;
    const handle = await open(real, "r");
    try {
      const running = beginDigest(digest.algorithm, size);
      const options = { ...(signal ? { signal } : {}), ...(onBytes ? { onBytes } : {}) };
      if (!(await digestFile(handle, size, running, options)) || running.end() !== digest.value) {
        this.#checked[key] = ""; // whatever was kept of it is not so
        return false;
      }
    } finally {
      await handle.close();
    }
    this.#checked[key] = mark;
    return true;
  }

  async #key(real: string): Promise<string> {
    return relative(await realpath(this.folder), real);
  }

  async #readChecked(): Promise<Record<string, string>> {
    try {
      const value: unknown = JSON.parse(await readFile(join(this.folder, ".cogwheel-checked.json"), "utf8"));
      return isObject(value) ? (value as Record<string, string>) : {};
    } catch {
      return {};
    }
  }

  /** Keeps which files were compared. A cache that cannot be written to is compared each time. */
  async keepChecked(): Promise<void> {
    if (this.#checked === null) return;
    const known = await this.#readChecked();
    const all = { ...known, ...this.#checked };
    if (JSON.stringify(all) !== JSON.stringify(known))
      await writeWhole(join(this.folder, ".cogwheel-checked.json"), JSON.stringify(all)).catch(() => undefined);
  }

  /** Makes room for a blob: one that is not whole becomes an unfinished download, one that is wrong goes. */
  async beginBlob(file: RemoteFile): Promise<void> {
    const blob = this.blob(file.blob);
    await mkdir(dirname(blob), { recursive: true });
    const size = (await stat(blob).catch(() => null))?.size;
    if (size === undefined) return;
    if (size < file.size && size > (await this.partSize(file.blob))) await rename(blob, this.part(file.blob));
    else await rm(blob, { force: true });
  }

  /** A download that is whole and has its hash becomes the blob. */
  async endBlob(file: RemoteFile): Promise<void> {
    const blob = this.blob(file.blob);
    try {
      await rename(this.part(file.blob), blob);
    } catch (error) {
      // Another process was as far.
      if ((await stat(blob).catch(() => null))?.size !== file.size) throw error;
    }
    this.#checked ??= await this.#readChecked();
    if (file.digest) this.#checked[await this.#key(await realpath(blob))] = markOf(file.digest, await stat(blob));
  }

  /** Puts a blob into a snapshot: a link, or a copy where the system has no links. */
  async place(commit: string, file: RemoteFile): Promise<void> {
    const pointer = join(this.snapshot(commit), file.path);
    const blob = this.blob(file.blob);
    await mkdir(dirname(pointer), { recursive: true });
    const temporary = join(dirname(pointer), `.${randomUUID()}.tmp`);
    try {
      await symlink(relative(dirname(pointer), blob), temporary)
        .catch(() => link(blob, temporary))
        .catch(() => copyFile(blob, temporary));
      await rename(temporary, pointer);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}

const markOf = (digest: Digest, { size, mtimeMs }: { size: number; mtimeMs: number }): string => `${digest.value} ${size} ${mtimeMs}`;

/** Under a temporary name first, so that a file is whole or not there. */
async function writeWhole(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = join(dirname(path), `.${randomUUID()}.tmp`);
  await writeFile(temporary, text);
  await rename(temporary, path);
}
