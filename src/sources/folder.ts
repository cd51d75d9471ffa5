/** A folder on disk, in Node, as a source. */
import { open, readdir, realpath, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join, relative, resolve, sep } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { fileKind, KIND_BYTES, type FileKind } from "./file-kind.ts";
import { checkPath, checkpointError, checkRange, disposedSource, memoryFor, missingFile } from "./source.ts";
import type { CheckpointSource, SourceEntry } from "./source.ts";

/** One `read` call of the system takes at most 2 GiB; larger ranges are read in pieces of this many bytes. */
const PIECE = 1024 * 1024 * 1024;

interface OpenFile {
  handle: FileHandle;
  size: number;
  /** When it was last written to, in nanoseconds. */
  written: bigint;
}

async function kindOf(path: string): Promise<FileKind | undefined> {
  const handle = await open(path, "r").catch(() => undefined);
  if (!handle) return undefined;
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(KIND_BYTES), 0, KIND_BYTES, 0);
    return fileKind(buffer.subarray(0, bytesRead));
  } finally {
    await handle.close();
  }
}

/**
 * A folder on disk. Files are opened at the first read and stay open until the source is disposed, so that a
 * checkpoint that is deleted or replaced meanwhile cannot be read half old and half new.
 * Throws when `folder` is not a folder. Symbolic links are followed (download caches are made of them).
 */
export async function folderSource(folder: string): Promise<CheckpointSource> {
  const root = resolve(folder);
  const self = { label: folder };
  const info = await stat(root).catch(() => null);
  if (!info?.isDirectory()) {
    const kind = info?.isFile() ? await kindOf(root) : undefined;
    const got = info ? (kind?.name ?? "a file") : "nothing there";
    throw new CogwheelError(
      "checkpoint",
      `${folder}: a checkpoint must be a folder, got ${got}; ` +
        `pass the folder that holds model_index.json` +
        `${info ? "" : ", or org/name on the hub"}${kind ? ` (of this file: ${kind.remedy})` : ""}`,
    );
  }
  const opened = new Map<string, Promise<OpenFile>>();
  let disposed = false;

  function file(path: string): Promise<OpenFile> {
    if (disposed) return Promise.reject(disposedSource(self));
    checkPath(self, path);
    let entry = opened.get(path);
    if (!entry) {
      entry = openFile(path);
      // A failed open is forgotten, so that a file that appears later can be read.
      entry.catch(() => opened.delete(path));
      opened.set(path, entry);
    }
    return entry;
  }

  async function openFile(path: string): Promise<OpenFile> {
    let handle: FileHandle;
    try {
      handle = await open(join(root, path), "r");
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code;
      if (code === "ENOENT" || code === "ENOTDIR") throw missingFile(self, path, cause);
      throw checkpointError(self, path, `must be readable, got ${code ?? String(cause)}; check its permissions`, cause);
    }
    const info = await handle.stat({ bigint: true });
    if (!info.isFile()) {
      await handle.close();
      throw checkpointError(self, path, "must be a file, got a folder or a device; check the folder's layout");
    }
    return { handle, size: Number(info.size), written: info.mtimeNs };
  }

  async function walk(directory: string, seen: ReadonlySet<string>, out: SourceEntry[]): Promise<void> {
    const real = await realpath(directory);
    if (seen.has(real)) return; // a link that points back up
    const inside = new Set(seen).add(real);
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const full = join(directory, entry.name);
      const info = await stat(full).catch(() => null); // a link to nowhere is no file
      if (info?.isDirectory()) await walk(full, inside, out);
      else if (info?.isFile()) out.push({ path: relative(root, full).split(sep).join("/"), size: info.size });
    }
  }

  return {
    label: folder,
    async list() {
      if (disposed) throw disposedSource(self);
      const out: SourceEntry[] = [];
      await walk(root, new Set(), out);
      return out.sort((a, b) => (a.path < b.path ? -1 : 1));
    },
    async exists(path) {
      if (disposed) throw disposedSource(self);
      checkPath(self, path);
      const info = await stat(join(root, path)).catch(() => null);
      return info?.isFile() ?? false;
    },
    async size(path) {
      return (await file(path)).size;
    },
    async version(path) {
      // The change time is the system's own: no program can set it, as archives set the others.
      const { dev, ino, size, mtimeNs, ctimeNs } = await (await file(path)).handle.stat({ bigint: true });
      return [dev, ino, size, mtimeNs, ctimeNs].join("-");
    },
    // What stays in a processor's cache until it is written again.
    pieceBytes: 8 << 20,
    async read(path, start, end, into, signal) {
      const { handle, size, written } = await file(path);
      checkRange(self, path, start, end, size);
      const bytes = memoryFor(end - start, into);
      for (let done = 0; done < bytes.length; ) {
        signal?.throwIfAborted();
        const length = Math.min(PIECE, bytes.length - done);
        const { bytesRead } = await handle.read(bytes, done, length, start + done);
        if (bytesRead === 0) {
          throw checkpointError(
            self,
            path,
            `must keep its size while it is read, got the end of the file at byte ${start + done} instead of ${size}; download it again`,
          );
        }
        done += bytesRead;
      }
      // Weights are read for as long as a generation lasts, and half of a new file beside half of an old one is neither.
      if ((await handle.stat({ bigint: true })).mtimeNs !== written)
        throw checkpointError(self, path, "must stay as it is while it is read, got one that was written to; open the checkpoint again");
      return bytes;
    },
    async [Symbol.asyncDispose]() {
      disposed = true;
      const files = [...opened.values()];
      opened.clear();
      for (const entry of files) {
        await entry.then(
          ({ handle }) => handle.close(),
          () => undefined,
        );
      }
    },
  };
}
