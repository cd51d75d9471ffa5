/** Files in memory as a source. */
import { checkPath, checkRange, disposedSource, memoryFor, missingFile } from "./source.ts";
import type { CheckpointSource } from "./source.ts";

/**
 * A checkpoint whose files are in memory, for tests and for small checkpoints that an app carries itself.
 *
 * @param files path → bytes, or text that is stored as UTF-8. The arrays are kept, not copied; reads copy.
 * @param label what messages call it; `memory` unless told
 */
export function memorySource(
  files: ReadonlyMap<string, Uint8Array | string> | Record<string, Uint8Array | string>,
  label = "memory",
): CheckpointSource {
  const self = { label };
  const entries: [string, Uint8Array | string][] = files instanceof Map ? [...files] : Object.entries(files);
  const stored = new Map<string, Uint8Array>();
  for (const [path, content] of entries) {
    checkPath(self, path);
    stored.set(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
  }
  let disposed = false;

  function file(path: string): Uint8Array {
    if (disposed) throw disposedSource(self);
    checkPath(self, path);
    const bytes = stored.get(path);
    if (!bytes) throw missingFile(self, path);
    return bytes;
  }

  return {
    label,
    async list() {
      if (disposed) throw disposedSource(self);
      return [...stored].map(([path, bytes]) => ({ path, size: bytes.length })).sort((a, b) => (a.path < b.path ? -1 : 1));
    },
    async exists(path) {
      if (disposed) throw disposedSource(self);
      checkPath(self, path);
      return stored.has(path);
    },
    async size(path) {
      return file(path).length;
    },
    async read(path, start, end, into) {
      const bytes = file(path);
      checkRange(self, path, start, end, bytes.length);
      const out = memoryFor(end - start, into);
      out.set(bytes.subarray(start, end));
      return out;
    },
    async [Symbol.asyncDispose]() {
      disposed = true;
      stored.clear();
    },
  };
}
