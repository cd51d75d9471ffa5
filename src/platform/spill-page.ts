/**
 * Memory that a disk stands in for, in a worker of a page: a file of the origin's private file system, which a worker alone may read and
 * write as it goes. It is gone when it is disposed of; what a page that was closed has left is removed by the next that spills.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Spill } from "./types.ts";

/** What the types of the DOM, which are a page's, lack. */
interface SyncHandle {
  read(into: Uint8Array, options: { at: number }): number;
  write(from: Uint8Array, options: { at: number }): number;
  truncate(bytes: number): void;
  close(): void;
}
type SyncFile = FileSystemFileHandle & { createSyncAccessHandle(): Promise<SyncHandle> };
type Listed = FileSystemDirectoryHandle & { keys(): AsyncIterable<string> };

const FOLDER = "cogwheel-spilled";

/** Bytes that may be put there: of a dedicated worker, and 0 of all else. */
export async function spillRoom(): Promise<number> {
  if (!("createSyncAccessHandle" in (globalThis.FileSystemFileHandle?.prototype ?? {}))) return 0;
  const { quota = 0, usage = 0 } = await navigator.storage.estimate();
  return Math.max(0, quota - usage);
}

/** Opens so much of it. */
export async function openSpill(bytes: number): Promise<Spill> {
  const failed = (what: string, error: unknown): never => {
    throw new CogwheelError(
      "vae",
      `activations that memory has no room for must be ${what} in the browser's private file system, got ${(error as Error).message}; ` +
        "remove stored checkpoints, or choose a smaller size",
      { cause: error },
    );
  };
  const name = crypto.randomUUID();
  let folder: Listed;
  let handle: SyncHandle;
  try {
    folder = (await (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true })) as Listed;
    // A file that another worker has open cannot be removed.
    for await (const left of folder.keys()) await folder.removeEntry(left).catch(() => undefined);
    handle = await ((await folder.getFileHandle(name, { create: true })) as SyncFile).createSyncAccessHandle();
  } catch (error) {
    return failed("kept", error);
  }
  const gone = (): void => {
    handle.close();
    void folder.removeEntry(name).catch(() => undefined);
  };
  try {
    handle.truncate(bytes);
  } catch (error) {
    gone();
    failed("kept", error);
  }
  let open = true;
  const whole = (what: string, move: () => number, length: number): void => {
    try {
      const moved = move();
      if (moved !== length) throw new Error(`${moved} of ${length} bytes`);
    } catch (error) {
      failed(what, error);
    }
  };
  return {
    read: (at, into) => whole("read", () => handle.read(into, { at }), into.byteLength),
    write: (at, from) => whole("kept", () => handle.write(from, { at }), from.byteLength),
    [Symbol.dispose]() {
      if (!open) return;
      open = false;
      gone();
    },
  };
}
