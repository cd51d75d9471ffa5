/** Memory that a disk stands in for, in Node. */
import { closeSync, ftruncateSync, mkdirSync, openSync, readSync, rmSync, statfsSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { cachePath } from "./cache-node.ts";
import { systemWords } from "./system-error.ts";
import type { Spill } from "./types.ts";

/** Beside the user's caches: what the system calls temporary is often memory itself. */
const folder = (): string => cachePath("spill");

/** Bytes that may be put there. */
export function spillRoom(): number {
  try {
    mkdirSync(folder(), { recursive: true });
    const { bavail, bsize } = statfsSync(folder());
    return bavail * bsize;
  } catch {
    return 0;
  }
}

/** Opens so much of it. On POSIX systems the file has no name from the start, so that nothing is left behind whatever happens. */
export async function openSpill(bytes: number): Promise<Spill> {
  const path = join(folder(), randomBytes(8).toString("hex"));
  const failed = (what: string, error: unknown): never => {
    throw new CogwheelError(
      "vae",
      `activations that memory has no room for must be ${what} in ${folder()}, got ${systemWords(error as NodeJS.ErrnoException)}; ` +
        "make room there, set XDG_CACHE_HOME to another disk, or choose a smaller size",
      { cause: error },
    );
  };
  let file: number;
  try {
    mkdirSync(folder(), { recursive: true });
    file = openSync(path, "wx+", 0o600);
  } catch (error) {
    return failed("kept", error);
  }
  const unnamed = process.platform !== "win32";
  if (unnamed) rmSync(path, { force: true });
  try {
    ftruncateSync(file, bytes);
  } catch (error) {
    closeSync(file);
    failed("kept", error);
  }
  let open = true;
  /** A call may move fewer bytes than it is asked for. */
  const whole = (what: string, move: (offset: number) => number, length: number): void => {
    try {
      for (let done = 0; done < length; ) {
        const moved = move(done);
        if (moved === 0) throw new Error("the file ends before its end");
        done += moved;
      }
    } catch (error) {
      failed(what, error);
    }
  };
  return {
    read: (at, into) => whole("read", (done) => readSync(file, into, done, into.byteLength - done, at + done), into.byteLength),
    write: (at, from) => whole("kept", (done) => writeSync(file, from, done, from.byteLength - done, at + done), from.byteLength),
    [Symbol.dispose]() {
      if (!open) return;
      open = false;
      closeSync(file);
      if (!unnamed) rmSync(path, { force: true });
    },
  };
}
