/**
 * Keeps two processes off one run's folder. The file names the process that works there; one that was killed leaves it behind and is known
 * to be gone, so the next run takes the file over.
 */
import { randomUUID } from "node:crypto";
import { constants, copyFile, link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { setTimeout } from "node:timers/promises";
import { CogwheelError } from "../base/errors.ts";
import { parseJsonObject } from "../base/json-scan.ts";
import { isRunning, startOf } from "../platform/process-node.ts";

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the process began, where the system tells: numbers of processes are used again. */
  readonly began: string;
}

/** "" where it cannot be known: then the number alone tells. */
const beginningOf = (pid: number): string => startOf(pid) ?? "";

export class RunLock implements AsyncDisposable {
  private constructor(
    private readonly path: string,
    private readonly text: string,
  ) {}

  /** Throws where another process holds the file. */
  static async take(path: string): Promise<RunLock> {
    const own: Holder = { pid: process.pid, host: hostname(), began: beginningOf(process.pid) };
    const text = `${JSON.stringify(own)}\n`;
    // Linked whole: nobody reads half of it.
    const made = `${path}.${randomUUID()}.tmp`;
    await writeFile(made, text);
    try {
      for (let attempt = 0; attempt < 100; attempt++) {
        if (await linked(made, path)) return new RunLock(path, text);
        const found = await readFile(path, "utf8").catch(() => undefined);
        if (found === undefined) continue; // it was given back meanwhile
        const holder = holderOf(found);
        if (holder && isAlive(holder, own)) throw held(path, holder);
        if (await takenOver(path, found, made)) return new RunLock(path, text);
        await setTimeout(10);
      }
      throw held(path);
    } finally {
      await rm(made, { force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if ((await readFile(this.path, "utf8").catch(() => "")) === this.text) await rm(this.path, { force: true });
  }
}

const held = (path: string, holder?: Holder): CogwheelError =>
  new CogwheelError(
    "run",
    `one process works in a folder at a time, got ${path} of ${holder ? `process ${holder.pid} on ${holder.host}` : "others"}; ` +
      "wait for it, choose another --out, or remove the file if that process is gone",
  );

/** Gives a file a second name, unless that is taken. File systems without such names get a copy. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code === "EEXIST") throw error;
      await copyFile(from, to, constants.COPYFILE_EXCL);
    });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/**
 * Puts `made` in the place of a file that nobody holds any more. Who does this holds a lock for it: of many that found the same file, none
 * may replace what another has put there since.
 */
async function takenOver(path: string, found: string, made: string): Promise<boolean> {
  const turn = await RunLock.take(`${path}.takeover`).catch((error: unknown) => {
    if (error instanceof CogwheelError) return undefined;
    throw error;
  });
  if (!turn) return false;
  await using _ = turn;
  if ((await readFile(path, "utf8").catch(() => undefined)) !== found) return false;
  await rename(made, path);
  return true;
}

function holderOf(text: string): Holder | undefined {
  try {
    const { pid, host, began } = parseJsonObject(text, (rule) => new CogwheelError("run", rule));
    return Number.isInteger(pid) && typeof host === "string" && typeof began === "string" ? { pid: pid as number, host, began } : undefined;
  } catch {
    return undefined; // a damaged file holds nothing
  }
}

function isAlive({ pid, host, began }: Holder, own: Holder): boolean {
  // Of another machine nobody can tell from here.
  if (host !== own.host) return true;
  if (pid === own.pid) return began === own.began;
  return isRunning(pid) && began === beginningOf(pid);
}
