/** Tables of measurements (docs/tuning.md), in Node: below the folder that the system has for a user's caches. */
import { readFile, rename, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { cachePath } from "./cache-node.ts";
import { temporaryName } from "./leftovers-node.ts";
import { openOutput } from "./output-node.ts";
import { systemWords } from "./system-error.ts";

/** A table has some hundred lines; a tuning's whole report some thousand. */
const LIMIT = 16 * 2 ** 20;

async function readTable(path: string, what: string): Promise<{ path: string; text: string } | undefined> {
  try {
    const found = await stat(path);
    if (!found.isFile()) throw unreadable(what, found.isDirectory() ? "a folder" : "a device or pipe");
    if (found.size > LIMIT) throw unreadable(what, `${found.size} bytes, where a table has at most ${LIMIT}`);
    return { path, text: await readFile(path, "utf8") };
  } catch (error) {
    if (error instanceof CogwheelError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unreadable(what, systemWords(error), error);
  }
}

/** Tables of measurements are kept for this user. */
export const KEEPS_TABLES: boolean = true;

export async function readTuning(file: string): Promise<{ path: string; text: string } | undefined> {
  const path = cachePath("tuning", file);
  return readTable(path, path);
}

export async function namedTuning(): Promise<"off" | { path: string; text: string } | undefined> {
  const path = process.env["COGWHEEL_TUNING"] || undefined;
  if (path === undefined || path === "off") return path;
  const what = `COGWHEEL_TUNING=${path}`;
  const found = await readTable(path, what);
  if (!found) throw unreadable(what, "ENOENT: no such file");
  return found;
}

function unreadable(what: string, got: string, cause?: unknown): CogwheelError {
  return new CogwheelError("tuning", `${what} must be a file that can be read, got ${got}; correct it, or take it away`, { cause });
}

export async function writeTuning(file: string, text: string): Promise<string> {
  const path = cachePath("tuning", file);
  try {
    // Whatever else has the name of a table keeps nobody from having one.
    const found = await stat(path).catch(() => undefined);
    if (found && !found.isFile())
      await rename(path, join(dirname(path), `not-a-table${temporaryName(basename(path)).replace(/\.part$/, "")}`));
    await using output = await openOutput(path, "file");
    await output.write(new TextEncoder().encode(text));
    await output.commit();
    return path;
  } catch (error) {
    const why =
      error instanceof CogwheelError && error.cause !== undefined
        ? systemWords(error.cause)
        : (error as Error).message.replace(/^\[output\] /, "");
    throw new CogwheelError(
      "tuning",
      `${path} must be a place that can be written, got ${why}; set XDG_CACHE_HOME to a folder that can be`,
      { cause: error },
    );
  }
}
