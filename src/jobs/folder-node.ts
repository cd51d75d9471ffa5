/** Files of a queue's folder: written whole, synced as they are asked to be, and what went wrong with them. */
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { temporaryName } from "../platform/leftovers-node.ts";
import { systemWords } from "../platform/system-error.ts";
import { QueueUnusable, type Sync } from "./backend.ts";

export const code = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;
const isFull = (error: unknown): boolean => ["ENOSPC", "EDQUOT", "EFBIG"].includes(code(error) ?? "");
export const isMissing = (error: unknown): undefined => {
  if (code(error) === "ENOENT") return undefined;
  throw error;
};

/** The error of a disk that does not do what it must. */
export const unusable = (root: string, error: unknown): CogwheelError =>
  error instanceof CogwheelError
    ? error
    : new QueueUnusable(
        `the queue's folder must be one that files can be written in and linked, got ${systemWords(error)} in ${root}; ` +
          `${isFull(error) ? "make room, or " : ""}choose another --queue, on a local disk`,
        { cause: error },
      );

/** Writes a file under a name of its own in `parts`; unless it is `unsynced`, its bytes are with the disk before it gets another. */
export async function written(parts: string, bytes: Uint8Array, sync: Sync): Promise<string> {
  const path = join(parts, temporaryName("value"));
  const file = await open(path, "wx");
  try {
    // One call may write less than it was given, all but the last bytes that a disk has room for: this one goes on.
    await file.writeFile(bytes);
    if (sync !== "unsynced") await file.datasync();
  } catch (error) {
    // On a full disk it would take the room that is left.
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  return path;
}

/** A folder whose names are synced: those that were given or taken before a call are with the disk after it. */
export class Names implements AsyncDisposable {
  #handle: Promise<FileHandle> | undefined;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(readonly folder: string) {}

  /** Calls that come while one is under way share the one after it. Windows has no such call, and needs none. */
  async sync(): Promise<void> {
    if (process.platform === "win32") return;
    if (this.#running === undefined) return await this.#run();
    this.#next ??= this.#running.then(
      () => this.#run(),
      () => this.#run(),
    );
    await this.#next;
  }

  #run(): Promise<void> {
    this.#next = undefined;
    const running = this.#sync().finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    return (this.#running = running);
  }

  async #sync(): Promise<void> {
    this.#handle ??= open(this.folder, "r");
    const handle = await this.#handle.catch((error: unknown) => {
      // There may be too many open files at the moment.
      this.#handle = undefined;
      throw error;
    });
    await handle.datasync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#handle)?.close();
  }
}

/** Puts a file of these bytes in the place of whatever has its name in the folder. */
export async function place(parts: string, names: Names, name: string, bytes: Uint8Array, sync: Sync): Promise<void> {
  await rename(await written(parts, bytes, sync), join(names.folder, name));
  if (sync === "synced") await names.sync();
}

/** Syncs the names of a folder once. */
export async function syncNames(folder: string): Promise<void> {
  await using names = new Names(folder);
  await names.sync();
}
