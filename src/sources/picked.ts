/** Files that a user picked in a browser as a source. */
import { checkPath, checkpointError, checkRange, disposedSource, memoryFor, missingFile } from "./source.ts";
import { SyncReads } from "./sync-reads.ts";
import type { CheckpointSource } from "./source.ts";

/**
 * Files that a user picked in a browser: a directory handle (`showDirectoryPicker()`, or the origin's private file
 * system), the files of `<input type="file" webkitdirectory>`, of which the picked folder's own name is cut off so that
 * paths start inside it, or files by their paths. Nothing is read before it is asked for.
 *
 * @param label what messages call it; the folder's name unless told
 */
export function filesSource(
  picked: FileSystemDirectoryHandle | Iterable<File> | ReadonlyMap<string, File>,
  label?: string,
): CheckpointSource {
  if (picked instanceof Map) return named(picked as ReadonlyMap<string, File>, label);
  return Symbol.iterator in picked ? pickedFiles([...(picked as Iterable<File>)], label) : directory(picked, label);
}

function pickedFiles(files: File[], label?: string): CheckpointSource {
  const first = files[0]?.webkitRelativePath?.split("/") ?? [];
  const root = first.length > 1 ? `${first[0]}/` : "";
  const stored = new Map<string, File>();
  for (const file of files) {
    const path = file.webkitRelativePath || file.name;
    stored.set(root && path.startsWith(root) ? path.slice(root.length) : path, file);
  }
  return named(stored, label ?? (root ? root.slice(0, -1) : undefined));
}

function named(files: ReadonlyMap<string, File>, label = "picked files"): CheckpointSource {
  return blobs(label, { list: async () => files, find: async (path) => files.get(path) ?? null });
}

/** Files of the browser's private file system, with their handles. */
export function storedFiles(
  files: ReadonlyMap<string, { readonly file: File; readonly handle: FileSystemFileHandle }>,
  label: string,
): CheckpointSource {
  const all = new Map([...files].map(([path, { file }]) => [path, file]));
  const reads = new Map([...files].map(([path, { handle }]) => [path, new SyncReads(handle)]));
  return blobs(label, {
    list: async () => all,
    find: async (path) => all.get(path) ?? null,
    sync: (path) => reads.get(path),
    close: () => {
      for (const one of reads.values()) one.close();
    },
  });
}

function directory(root: FileSystemDirectoryHandle, label?: string): CheckpointSource {
  const known = new Map<string, File>();
  const find = async (path: string): Promise<File | null> => {
    const cached = known.get(path);
    if (cached) return cached;
    const parts = path.split("/");
    const name = parts.pop()!;
    try {
      let folder = root;
      for (const part of parts) folder = await folder.getDirectoryHandle(part);
      const file = await (await folder.getFileHandle(name)).getFile();
      known.set(path, file);
      return file;
    } catch (error) {
      const kind = (error as DOMException).name;
      if (kind === "NotFoundError" || kind === "TypeMismatchError") return null;
      throw error;
    }
  };
  const walk = async (folder: FileSystemDirectoryHandle, prefix: string, out: Map<string, File>): Promise<void> => {
    for await (const [name, handle] of folder.entries()) {
      if (handle.kind === "directory") await walk(handle as FileSystemDirectoryHandle, `${prefix}${name}/`, out);
      else out.set(prefix + name, await (handle as FileSystemFileHandle).getFile());
    }
  };
  return blobs(label ?? root.name, {
    find,
    async list() {
      const out = new Map<string, File>();
      await walk(root, "", out);
      return out;
    },
  });
}

function blobs(
  label: string,
  files: {
    list(): Promise<ReadonlyMap<string, File>>;
    find(path: string): Promise<File | null>;
    /** The quicker way to read a file, where it has one. */
    sync?(path: string): SyncReads | undefined;
    close?(): void;
  },
): CheckpointSource {
  const self = { label };
  let disposed = false;

  async function find(path: string): Promise<File | null> {
    if (disposed) throw disposedSource(self);
    checkPath(self, path);
    try {
      return await files.find(path);
    } catch (cause) {
      throw checkpointError(self, path, `must be readable, got ${String(cause)}; pick the folder again and allow reading`, cause);
    }
  }

  async function file(path: string): Promise<File> {
    const found = await find(path);
    if (!found) throw missingFile(self, path);
    return found;
  }

  return {
    label,
    async list() {
      if (disposed) throw disposedSource(self);
      return [...(await files.list())].map(([path, { size }]) => ({ path, size })).sort((a, b) => (a.path < b.path ? -1 : 1));
    },
    async exists(path) {
      return (await find(path)) !== null;
    },
    async size(path) {
      return (await file(path)).size;
    },
    async version(path) {
      const { name, size, lastModified } = await file(path);
      return `${name}-${size}-${lastModified}`;
    },
    async read(path, start, end, into, signal) {
      const found = await file(path);
      checkRange(self, path, start, end, found.size);
      if (into && (await files.sync?.(path)?.read(start, memoryFor(end - start, into)))) return memoryFor(end - start, into);
      try {
        const bytes = new Uint8Array(await found.slice(start, end).arrayBuffer());
        signal?.throwIfAborted();
        if (!into || into.length < bytes.length) return bytes;
        into.set(bytes);
        return memoryFor(bytes.length, into);
      } catch (cause) {
        // A File that changed on disk after it was picked can no longer be read.
        throw checkpointError(self, path, `must not change while it is open, got ${String(cause)}; pick the folder again`, cause);
      }
    },
    async [Symbol.asyncDispose]() {
      disposed = true;
      files.close?.();
    },
  };
}
