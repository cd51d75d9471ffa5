/** Files that commands read and write. */
import { checkWritable } from "#platform";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { CogwheelError } from "../errors.ts";

/** A file that the user named, whole. */
export async function readInput(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new CogwheelError("input", `${path} must be a readable file, got ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}; check the path`, { cause: error });
  }
}
/** Finds out, before any work, whether a file can be written. */
export async function checkOutputFile(path: string): Promise<void> {
  await checkWritable(path, "file");
}

/** Under a temporary name first, so that a file is whole or not there. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(resolve(path)), { recursive: true });
  const temporary = join(dirname(resolve(path)), `.${basename(path)}.${process.pid}.tmp`);
  await writeFile(temporary, bytes);
  await rename(temporary, path);
}
