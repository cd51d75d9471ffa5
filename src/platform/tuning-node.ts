/** Tables of measurements (docs/tuning.md), in Node: below the folder that the system has for a user's caches. */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { CogwheelError } from "../errors.ts";
import { cachePath } from "./cache-node.ts";

export async function readTuning(file: string): Promise<{ path: string; text: string } | undefined> {
  const path = cachePath("tuning", file);
  try {
    return { path, text: await readFile(path, "utf8") };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unreadable(path, error);
  }
}

export async function namedTuning(): Promise<"off" | { path: string; text: string } | undefined> {
  const path = process.env["COGWHEEL_TUNING"] || undefined;
  if (path === undefined || path === "off") return path;
  try {
    return { path, text: await readFile(path, "utf8") };
  } catch (error) {
    throw unreadable(`COGWHEEL_TUNING=${path}`, error);
  }
}

function unreadable(what: string, error: unknown): CogwheelError {
  return new CogwheelError("tuning", `${what} must be a file that can be read, got ${(error as Error).message}; correct it, or take it away`, { cause: error });
}

export async function writeTuning(file: string, text: string): Promise<string> {
  const path = cachePath("tuning", file);
  const temporary = `${path}.${process.pid}.part`;
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(temporary, text);
    await rename(temporary, path);
  } catch (error) {
    throw new CogwheelError("tuning", `${path} must be a place that can be written, got ${(error as Error).message}; set XDG_CACHE_HOME to a folder that can be`, { cause: error });
  }
  return path;
}
