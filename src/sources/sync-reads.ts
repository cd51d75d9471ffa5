/**
 * A file of the browser's private file system, read through a synchronous handle: straight into the memory that is given, where a `File`
 * gives memory of its own that has to be copied. Only workers have such handles. One keeps its file from being written and removed, so it
 * is let go a moment after the last read.
 */
interface SyncHandle {
  read(into: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  close(): void;
}
type HasSyncHandles = FileSystemFileHandle & { createSyncAccessHandle?(options: { mode: "read-only" }): Promise<SyncHandle> };

/** Milliseconds after which a handle that nobody reads with is closed. */
const IDLE_MS = 500;

export class SyncReads {
  #handle: Promise<SyncHandle | null> | undefined;
  #reading = 0;
  #closing: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly file: FileSystemFileHandle) {}

  /**
   * Fills `into` with the bytes from `start` on. False where that is not to be had: in a page, in browsers whose handles are for one
   * reader only while another has it, or where the file is not what it was.
   */
  async read(start: number, into: Uint8Array<ArrayBuffer>): Promise<boolean> {
    this.#reading++;
    clearTimeout(this.#closing);
    try {
      const handle = await (this.#handle ??= this.#open());
      return handle !== null && handle.read(into, { at: start }) === into.length;
    } catch {
      return false;
    } finally {
      if (--this.#reading === 0) this.#closing = setTimeout(() => this.close(), IDLE_MS);
    }
  }

  #open(): Promise<SyncHandle | null> {
    const file = this.file as HasSyncHandles;
    return file.createSyncAccessHandle?.({ mode: "read-only" }).catch(() => null) ?? Promise.resolve(null);
  }

  close(): void {
    clearTimeout(this.#closing);
    const handle = this.#handle;
    this.#handle = undefined;
    void handle?.then((open) => open?.close());
  }
}
