/** Whether a result can be written, found out before any work, in Node. */
import { rmSync } from "node:fs";
import { mkdir, readdir, realpath, rmdir, stat, unlink, writeFile } from "node:fs/promises";
import { dirname, isAbsolute, join, relative, sep } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { isTemporary, temporaryName } from "./leftovers-node.ts";
import { FRAME, settle } from "./output-folder-node.ts";
import { kindOf, realTarget, unwritable, type Kind } from "./output-path-node.ts";

/** Writes, and takes away again, a small file in the folder, or where the folder would have to be made. */
async function tryWriting(folder: string, path: string, option: string | undefined): Promise<void> {
  let at = folder;
  let kind = await kindOf(at, option);
  while (kind === undefined && dirname(at) !== at) kind = await kindOf((at = dirname(at)), option);
  if (kind !== "folder") {
    const got =
      kind === "file" ? `the file ${at}` : kind === undefined ? `${at}, which is not there` : `${at}, which is a device or a pipe`;
    throw new CogwheelError("output", `${path} must be in a folder, got ${got}; choose another place with ${option ?? "--out"}.`);
  }
  const trial = join(at, temporaryName(path));
  try {
    await writeFile(trial, "cogwheel", { flag: "wx" });
    await unlink(trial);
  } catch (error) {
    rmSync(trial, { force: true });
    throw unwritable(path, error, option);
  }
}

/** Whether a folder can be renamed, as far as can be told before it is tried. */
export async function movable(folder: string): Promise<boolean> {
  const parent = dirname(folder);
  try {
    const within = relative(folder, await realpath(process.cwd()));
    if (parent === folder || !(within === ".." || within.startsWith(`..${sep}`) || isAbsolute(within))) return false;
  } catch {
    // This process is in a folder that was removed, so that it is not in this one.
  }
  try {
    if ((await stat(folder)).dev !== (await stat(parent)).dev) return false;
    const trial = join(parent, temporaryName(folder));
    await mkdir(trial);
    await rmdir(trial);
    return true;
  } catch {
    return false;
  }
}

/**
 * Finds out whether a file (or a folder of pictures) can be written there; nothing of it stays.
 * @param option what the user names the path with, for the remedy of an error; default `--out`
 */
export async function checkWritable(path: string, kind: Kind, option?: string): Promise<void> {
  const real = await realTarget(path, option);
  if (kind === "folder") {
    await settle(real).catch((error: unknown) => {
      throw unwritable(path, error, option);
    });
  }
  const present = await kindOf(real, option);
  if (present !== undefined && present !== kind) {
    const got = present === "other" ? "a device or pipe" : `a ${present}`;
    throw new CogwheelError(
      "output",
      `${path} must be a ${kind} or not exist yet, got ${got}; choose another name with ${option ?? "--out"}.`,
    );
  }
  if (kind === "folder" && present) {
    const names = await readdir(real).catch((error: unknown) => {
      throw unwritable(path, error, option);
    });
    const foreign = names.find((name) => !FRAME.test(name) && !isTemporary(name));
    if (foreign !== undefined) {
      throw new CogwheelError(
        "output",
        `${path} must be empty or hold only the frame-NNNN.png of an earlier run, which are replaced, ` +
          `got ${foreign}; choose another folder with ${option ?? "--out"}.`,
      );
    }
  }
  // A folder that will be replaced as a whole is left alone until then.
  if (!(kind === "folder" && present)) await tryWriting(dirname(real), path, option);
  else if (!(await movable(real))) await tryWriting(real, path, option);
}
