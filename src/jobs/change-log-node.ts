/**
 * What changed in a folder of jobs: a line `KEY REVISION` for each change, which all processes append to one file. Each process reads it
 * once, whoever in it watches.
 */
import { type FileHandle, open, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { isMissing } from "./folder-node.ts";
import type { Wakes, Woken } from "./wakes-node.ts";

/** Bytes of the log, above which another one is begun. */
const LOG_BYTES = 4_000_000;
const READ_BYTES = 1 << 14;

export type Hear = (key: string, revision: number) => void;

/** A log as it is open: another one may have its name by now. */
interface Open {
  readonly file: FileHandle;
  readonly inode: number;
}

async function opened(path: string, flags: "a" | "r"): Promise<Open> {
  const file = await open(path, flags);
  return { file, inode: (await file.stat()).ino };
}

export class ChangeLog implements AsyncDisposable {
  readonly #path: string;
  readonly #listeners = new Set<Hear>();
  #reader: LogReader | undefined;
  #writer: Open | undefined;
  /** What could not be told, as the disk was full. */
  readonly #untold = new Set<string>();
  #turn: Promise<void> = Promise.resolve();

  constructor(
    folder: string,
    private readonly wakes: Wakes,
  ) {
    this.#path = join(folder, "log");
  }

  /** The change is made by now, whether it can be told or not: what cannot is told with the next one. */
  async tell(key: string, revision: number): Promise<void> {
    this.#untold.add(`${key} ${revision}`);
    await (this.#turn = this.#turn.then(() => this.#append()));
  }

  async #append(): Promise<void> {
    const lines = [...this.#untold];
    if (lines.length === 0) return; // told with those before
    try {
      // It begins with an end of line, as a full disk may have cut the last one.
      await (await this.#end()).file.appendFile(`\n${lines.join("\n")}\n`);
      for (const told of lines) this.#untold.delete(told);
    } catch {
      // The next change tells it.
    }
  }

  /** The log that has the name, to append to. */
  async #end(): Promise<Open> {
    const info = await stat(this.#path).catch(isMissing);
    const full = info !== undefined && info.size > LOG_BYTES;
    // Others may do so at the same time: a log that is empty is no loss, as who reads begins at the start of a new one.
    // Where that cannot be done now, as somebody reads the old one on Windows, this one grows.
    if (full) await rename(this.#path, `${this.#path}.old`).catch(() => undefined);
    else if (this.#writer && this.#writer.inode === info?.ino) return this.#writer;
    const before = this.#writer;
    this.#writer = undefined;
    await before?.file.close();
    return (this.#writer = await opened(this.#path, "a"));
  }

  /** Told of every change from when this resolves, until it is disposed of. */
  async listen(hear: Hear): Promise<Disposable> {
    this.#listeners.add(hear);
    const reader = (this.#reader ??= new LogReader(this.#path, this.wakes.listen(), (key, revision) => {
      for (const one of this.#listeners) one(key, revision);
    }));
    await reader.begun;
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(hear);
        if (this.#listeners.size > 0 || this.#reader !== reader) return;
        this.#reader = undefined;
        reader.end();
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turn;
    await this.#writer?.file.close();
    this.#reader?.end();
    await this.#reader?.ended;
  }
}

/** Reads a log from its end on. */
class LogReader {
  readonly #stop = new AbortController();
  #log: Open | undefined;
  /** Where it goes on, and the line that was not whole yet. */
  #at = 0;
  #rest = "";
  readonly begun: Promise<void>;
  readonly ended: Promise<void>;

  constructor(
    private readonly path: string,
    private readonly woken: Woken,
    private readonly hear: Hear,
  ) {
    this.begun = this.#begin();
    this.ended = this.begun.then(() => this.#run());
  }

  async #begin(): Promise<void> {
    this.#log = await opened(this.path, "r").catch(() => undefined);
    this.#at = (await this.#log?.file.stat().catch(() => undefined))?.size ?? 0;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const bytes = Buffer.alloc(READ_BYTES);
    while (!signal.aborted) {
      // The disk may not be there for a moment.
      const more = await this.#read(bytes).catch(() => false);
      if (!more) await this.woken.next(signal).catch(() => undefined);
    }
    this.woken[Symbol.dispose]();
    await this.#log?.file.close();
  }

  /** Reads what is new; resolves to whether there may be more already. */
  async #read(bytes: Buffer): Promise<boolean> {
    const read = (await this.#log?.file.read(bytes, 0, bytes.length, this.#at))?.bytesRead ?? 0;
    if (read === 0) {
      const info = await stat(this.path).catch(isMissing);
      if (!info || info.ino === this.#log?.inode) return false;
      const next = await opened(this.path, "r");
      await this.#log?.file.close();
      [this.#log, this.#at, this.#rest] = [next, 0, ""];
      return true;
    }
    this.#at += read;
    // Keys are ASCII.
    const lines = (this.#rest + bytes.toString("latin1", 0, read)).split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) {
      const [key, revision] = line.split(" ");
      // Versions before told the key alone.
      if (key) this.hear(key, Number(revision) || 0);
    }
    return read === bytes.length;
  }

  end(): void {
    this.#stop.abort();
  }
}
