/** Files of a data set and of its store: whole or not at all. */
import { statSync } from "node:fs";
import { copyFile, link, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";

/** What was left half written in a folder. */
export async function removeParts(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) if (name.endsWith(".part")) await rm(join(folder, name), { force: true });
}

/** Thousands are asked for in a row, and each is answered at once: a promise of one costs more than its answer. */
export const sizeOf = (path: string): number | undefined => statSync(path, { throwIfNoEntry: false })?.size;

/** A second name of a file, or a copy where the file system has none; whole or not at all. */
export async function placed(from: string, to: string, bytes: number): Promise<void> {
  if (sizeOf(to) === bytes && (await sameFile(from, to))) return;
  const part = `${to}.part`;
  await rm(part, { force: true });
  await link(from, part).catch(() => copyFile(from, part));
  await rename(part, to);
  // Where both are one file, renaming leaves the first name too.
  await rm(part, { force: true });
}

async function sameFile(a: string, b: string): Promise<boolean> {
  const [one, other] = [statSync(a), statSync(b)];
  return one.ino === other.ino ? one.dev === other.dev : (await readFile(a)).equals(await readFile(b));
}
