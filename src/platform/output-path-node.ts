/** Paths of results, in Node: what is there, what it really is, and why it cannot be written. */
import { chmod, chown, readlink, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { systemWords } from "./system-error.ts";

export type Kind = "file" | "folder";

/** What is at a path; undefined where there is nothing. */
export async function kindOf(path: string, option?: string): Promise<Kind | "other" | undefined> {
  try {
    const found = await stat(path);
    return found.isFile() ? "file" : found.isDirectory() ? "folder" : "other";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unwritable(path, error, option);
  }
}

/** The error of a place that the system lets nobody write to. */
export function unwritable(path: string, error: unknown, option = "--out"): CogwheelError {
  if (error instanceof CogwheelError) return error;
  const room =
    (error as NodeJS.ErrnoException).code === "ENOSPC" || (error as NodeJS.ErrnoException).code === "EDQUOT"
      ? "make room, or choose"
      : "choose";
  return new CogwheelError(
    "output",
    `${path} must be a place that can be written, got ${systemWords(error)}; ${room} another with ${option}.`,
    { cause: error },
  );
}

/**
 * The real path of what is to be written or is already there: what a link points to, be it there or not yet, in folders that may be links
 * themselves and need not be there either.
 * @param option what the user names the path with, for the remedy of an error
 */
export async function realTarget(path: string, option?: string): Promise<string> {
  let full = resolve(path);
  for (let links = 0; ; links++) {
    try {
      return await realpath(full);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (links > 40 || (code !== "ENOENT" && code !== "ENOTDIR")) throw unwritable(path, error, option);
    }
    if (dirname(full) === full) return full; // a drive that is not there
    const to = await readlink(full).catch(() => undefined);
    // The parent may be a link itself, from whose end a relative link counts.
    const parent = await realTarget(dirname(full), option);
    if (to === undefined) return join(parent, basename(full));
    full = resolve(parent, to);
  }
}

/**
 * Gives what is to replace something its permissions and owner, as far as this user may. Who may
 * read it is nobody's to change but the user's.
 */
export async function inheritPermissions(fresh: string, real: string, bits = 0o777): Promise<void> {
  const before = await stat(real).catch(() => undefined);
  if (!before) return;
  await chown(fresh, before.uid, before.gid).catch(() => undefined);
  await chmod(fresh, before.mode & bits).catch(() => undefined);
}
