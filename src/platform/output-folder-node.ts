/**
 * How a folder of pictures takes the place of an earlier one, in Node, whole at every instant at which the process may be killed.
 *
 * The folder that is replaced is first moved aside (`.NAME….old`), which leaves an instant without either: the next run that writes or
 * reads there finds what was moved aside, and finishes. A folder that cannot be moved (a mount point, the folder that this process is
 * in, one whose parent cannot be written) gets its new files in a folder within (`….new`, with a list of them), whose name is the point
 * from which on they are the result; whatever then remains to be moved up is moved by the next run.
 */
import { renameSync } from "node:fs";
import { cp, open, readdir, readFile, rename, rm, rmdir, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isTemporary, leftovers, temporaryName, withEnding } from "./leftovers-node.ts";
import { inheritPermissions, kindOf, realTarget } from "./output-path-node.ts";

/** The files of a folder of pictures; what has such a name is replaced together with the others. */
export const FRAME = /^frame-\d{4,}\.png$/;
/** The names of the files that a `….new` holds. */
const LIST = "list.json";

/** Puts a whole folder in the place of one that may be there; false if that one cannot be moved, and is as it was. */
export async function swap(fresh: string, real: string): Promise<boolean> {
  const aside = withEnding(fresh, "old");
  await inheritPermissions(fresh, real, 0o7777);
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
  for (const name of await readdir(rest))
    if (!FRAME.test(name) && !isTemporary(name)) await rename(join(rest, name), join(real, name)).catch(() => undefined);
  for (const name of await readdir(rest))
    if (FRAME.test(name) || isTemporary(name)) await rm(join(rest, name), { recursive: true, force: true });
  await rmdir(rest).catch(() => undefined);
}

/** Replaces the frames of a folder that must stay where it is. */
export async function replaceWithin(fresh: string, real: string): Promise<void> {
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
export async function settle(real: string): Promise<void> {
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

/**
 * Finishes what a killed process left of replacing a folder of pictures, before it is read or
 * written. What cannot be finished is left as it is.
 */
export async function settleFolder(path: string): Promise<void> {
  await realTarget(path)
    .then(settle)
    .catch(() => undefined);
}
