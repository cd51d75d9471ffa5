/**
 * Where results are written, in Node: a file or a folder of pictures appears whole or not at all, whenever the process is killed.
 *
 * A file is written beside its place and renamed. So is a folder; the one that it replaces is first moved aside (`.NAME….old`), which leaves an
 * instant without either: the next run that writes or reads there finds what was moved aside, and finishes. A folder that cannot be moved (a mount
 * point, the folder that this process is in, one whose parent cannot be written) gets its new files in a folder within (`….new`, with a list of them),
 * whose name is the point from which on they are the result; whatever then remains to be moved up is moved by the next run.
 */
import { renameSync, rmSync } from "node:fs";
import { chmod, chown, cp, mkdir, open, readdir, readFile, readlink, realpath, rename, rm, rmdir, stat, unlink, writeFile } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, resolve } from "node:path";
import { CogwheelError } from "../errors.ts";
import { isTemporary, leftovers, removeLeftovers, temporaryName, withEnding } from "./leftovers-node.ts";
import { systemWords } from "./system-error.ts";
import type { OutputFiles } from "./types.ts";

/** The files of a folder of pictures; what has such a name is replaced together with the others. */
const FRAME = /^frame-\d{4,}\.png$/;
/** The names of the files that a `….new` holds. */
const LIST = "list.json";

type Kind = "file" | "folder";

async function kindOf(path: string, option?: string): Promise<Kind | "other" | undefined> {
  try {
    const found = await stat(path);
    return found.isFile() ? "file" : found.isDirectory() ? "folder" : "other";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unwritable(path, error, option);
  }
}

function unwritable(path: string, error: unknown, option = "--out"): CogwheelError {
  if (error instanceof CogwheelError) return error;
  const room = (error as NodeJS.ErrnoException).code === "ENOSPC" || (error as NodeJS.ErrnoException).code === "EDQUOT" ? "make room, or choose" : "choose";
  return new CogwheelError("output", `${path} must be a place that can be written, got ${systemWords(error)}; ${room} another with ${option}.`, { cause: error });
}

/** The real path, so that what a link points to is replaced and not the link, be it there or not yet. */
async function target(path: string, option: string | undefined): Promise<string> {
  let full = resolve(path);
  for (let links = 0; ; links++) {
    try {
      return await realpath(full);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (links > 40 || (code !== "ENOENT" && code !== "ENOTDIR")) throw unwritable(path, error, option);
    }
    const to = await readlink(full).catch(() => undefined);
    // The parent may be a link itself, from whose end a relative link counts.
    const parent = await realpath(dirname(full)).catch(() => dirname(full));
    if (to === undefined) return join(parent, basename(full));
    full = resolve(parent, to);
  }
}

/** Writes, and takes away again, a small file in the folder, or where the folder would have to be made. */
async function tryWriting(folder: string, path: string, option: string | undefined): Promise<void> {
  let at = folder;
  let kind = await kindOf(at, option);
  while (kind === undefined && dirname(at) !== at) kind = await kindOf((at = dirname(at)), option);
  if (kind !== "folder") throw new CogwheelError("output", `${path} must be in a folder, got ${kind === "file" ? `the file ${at}` : kind === undefined ? `${at}, which is not there` : `${at}, which is a device or a pipe`}; choose another place with ${option ?? "--out"}.`);
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
async function movable(folder: string): Promise<boolean> {
  const parent = dirname(folder);
  try {
    const within = relative(folder, await realpath(process.cwd()));
    if (parent === folder || !(within.startsWith("..") || isAbsolute(within))) return false;
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
  const real = await target(path, option);
  if (kind === "folder") {
    await settle(real).catch((error: unknown) => {
      throw unwritable(path, error, option);
    });
  }
  const present = await kindOf(real, option);
  if (present !== undefined && present !== kind) {
    const got = present === "other" ? "a device or pipe" : `a ${present}`;
    throw new CogwheelError("output", `${path} must be a ${kind} or not exist yet, got ${got}; choose another name with ${option ?? "--out"}.`);
  }
  if (kind === "folder" && present) {
    const names = await readdir(real).catch((error: unknown) => {
      throw unwritable(path, error, option);
    });
    const foreign = names.find((name) => !FRAME.test(name) && !isTemporary(name));
    if (foreign !== undefined) {
      throw new CogwheelError("output", `${path} must be empty or hold only the frame-NNNN.png of an earlier run, which are replaced, got ${foreign}; choose another folder with ${option ?? "--out"}.`);
    }
  }
  // A folder that will be replaced as a whole is left alone until then.
  if (!(kind === "folder" && present)) await tryWriting(dirname(real), path, option);
  else if (!(await movable(real))) await tryWriting(real, path, option);
}

/** Opens a place for a result; see `OutputFiles`. */
export async function openOutput(path: string, kind: Kind, option?: string): Promise<OutputFiles> {
  await checkWritable(path, kind, option);
  const real = await target(path, option);
  const parent = dirname(real);
  const present = kind === "folder" && (await kindOf(real, option)) === "folder";
  const moves = !present || (await movable(real));
  const firstMade = await mkdir(parent, { recursive: true }).catch((error: unknown) => {
    throw unwritable(path, error, option);
  });
  await removeLeftovers(parent, real);
  if (present) await removeLeftovers(real, real);
  const temporary = join(moves ? parent : real, temporaryName(real));
  const atExit = (): void => rmSync(temporary, { recursive: true, force: true });
  process.once("exit", atExit);
  let committed = false;

  return {
    path: real,
    async write(data, name) {
      try {
        if (kind === "folder") await mkdir(temporary, { recursive: true });
        const file = await open(kind === "folder" ? join(temporary, name!) : temporary, "w");
        try {
          await file.writeFile(data);
          await file.sync();
        } finally {
          await file.close();
        }
      } catch (error) {
        throw unwritable(path, error, option);
      }
    },
    async commit() {
      try {
        if (kind === "file") await rename(temporary, real);
        else if (!(moves && (await swap(temporary, real)))) await replaceWithin(temporary, real);
        committed = true;
      } catch (error) {
        throw unwritable(path, error, option);
      }
    },
    async [Symbol.asyncDispose]() {
      process.off("exit", atExit);
      if (committed) return;
      await rm(temporary, { recursive: true, force: true });
      for (let folder = parent; firstMade !== undefined && folder.length >= firstMade.length; folder = dirname(folder)) await rmdir(folder).catch(() => undefined);
    },
  };
}

/** Puts a whole folder in the place of one that may be there; false if that one cannot be moved, and is as it was. */
async function swap(fresh: string, real: string): Promise<boolean> {
  const aside = withEnding(fresh, "old");
  const before = await stat(real).catch(() => undefined);
  if (before) {
    await chown(fresh, before.uid, before.gid).catch(() => undefined);
    await chmod(fresh, before.mode & 0o7777).catch(() => undefined);
  }
  // Without anything in between: this is the only instant in which neither is there.
  for (let tries = 0; ; tries++) {
    try {
      renameSync(real, aside);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT") return false;
    }
    try {
      renameSync(fresh, real);
      break;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Another process put its own there in the meantime: the later one stays, as with files.
      if (tries < 8 && (code === "ENOTEMPTY" || code === "EEXIST" || code === "EPERM") && (await kindOf(real)) === "folder") {
        await clearAway(aside, real);
        continue;
      }
      try {
        renameSync(aside, real);
      } catch {
        // There was none; or it stays aside, from where the next run takes it.
      }
      throw error;
    }
  }
  await clearAway(aside, real);
  return true;
}

/** Removes the frames of a folder that was replaced. What somebody else put there goes to the new one. */
async function clearAway(aside: string, real: string): Promise<void> {
  // Under another name first: an `.old` is always whole.
  const rest = join(dirname(aside), temporaryName(real));
  try {
    await rename(aside, rest);
  } catch {
    return; // there was none
  }
  for (const name of await readdir(rest)) if (!FRAME.test(name) && !isTemporary(name)) await rename(join(rest, name), join(real, name)).catch(() => undefined);
  for (const name of await readdir(rest)) if (FRAME.test(name) || isTemporary(name)) await rm(join(rest, name), { recursive: true, force: true });
  await rmdir(rest).catch(() => undefined);
}

/** Replaces the frames of a folder that must stay where it is. */
async function replaceWithin(fresh: string, real: string): Promise<void> {
  const names = await readdir(fresh);
  const list = await open(join(fresh, LIST), "w");
  try {
    await list.writeFile(JSON.stringify(names));
    await list.sync();
  } finally {
    await list.close();
  }
  const inside = join(real, temporaryName(real, "new"));
  try {
    await rename(fresh, inside); // from here on the new ones are the result
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
    // A folder of the same disk that is mounted there: it looked as if it could be moved.
    const copy = join(real, temporaryName(real));
    try {
      await cp(fresh, copy, { recursive: true });
      await rename(copy, inside);
    } finally {
      await rm(copy, { recursive: true, force: true });
    }
    await rm(fresh, { recursive: true, force: true });
  }
  await moveUp(inside, real);
}

/** Moves the files of a `….new` up, and removes the frames that are none of them; can be stopped and begun again anywhere. */
async function moveUp(inside: string, real: string): Promise<void> {
  const waiting = new Set(await readdir(inside));
  const names = listed(await readFile(join(inside, LIST), "utf8")) ?? [...waiting].filter((name) => FRAME.test(name));
  for (const name of names) if (waiting.has(name)) await rename(join(inside, name), join(real, name));
  const wanted = new Set(names);
  for (const name of await readdir(real)) if (FRAME.test(name) && !wanted.has(name)) await unlink(join(real, name));
  await unlink(join(inside, LIST));
  await rmdir(inside);
}

/** The names in a list; undefined where a stranger wrote it. */
function listed(text: string): string[] | undefined {
  try {
    const names: unknown = JSON.parse(text);
    return Array.isArray(names) && names.every((name) => typeof name === "string" && FRAME.test(name)) ? (names as string[]) : undefined;
  } catch {
    return undefined;
  }
}

/** Finishes what a killed process left of replacing this folder, given by its real path. */
async function settle(real: string): Promise<void> {
  const parent = dirname(real);
  for (const name of await leftovers(real, "new", real)) {
    const inside = join(real, name);
    // Without its list it is one whose files are all up.
    if ((await kindOf(join(inside, LIST))) === "file") await moveUp(inside, real);
    else await rmdir(inside).catch(() => undefined);
  }
  for (const name of await leftovers(parent, "old", real)) {
    const aside = join(parent, name);
    if ((await kindOf(real)) !== undefined) await clearAway(aside, real);
    else {
      // What was to replace it is whole: the other was moved aside only then.
      const fresh = join(parent, withEnding(name, "part"));
      await rename((await kindOf(fresh)) === "folder" ? fresh : aside, real);
      await clearAway(aside, real);
    }
  }
}

/** Finishes what a killed process left of replacing a folder of pictures, before it is read or written. What cannot be finished is left as it is. */
export async function settleFolder(path: string): Promise<void> {
  await target(path, undefined).then(settle).catch(() => undefined);
}
