/**
 * Where results are written, in Node: a file or a folder of pictures appears whole or not at all, whenever the process is killed. Both
 * are written beside their place and renamed; how a folder replaces another is in output-folder-node.ts.
 */
import { rmSync } from "node:fs";
import { mkdir, open, rename, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { removeLeftovers, temporaryName } from "./leftovers-node.ts";
import { replaceWithin, swap } from "./output-folder-node.ts";
import { inheritPermissions, kindOf, realTarget, unwritable, type Kind } from "./output-path-node.ts";
import type { OutputFiles } from "./types.ts";
import { checkWritable, movable } from "./writable-node.ts";

/** Opens a place for a result; see `OutputFiles`. */
export async function openOutput(path: string, kind: Kind, option?: string): Promise<OutputFiles> {
  await checkWritable(path, kind, option);
  const real = await realTarget(path, option);
  const parent = dirname(real);
  const present = kind === "folder" && (await kindOf(real, option)) === "folder";
  const replaces = kind === "file" && (await kindOf(real, option)) === "file";
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
      const failed = (error: unknown): never => {
        throw unwritable(path, error, option);
      };
      if (kind === "folder") await mkdir(temporary, { recursive: true }).catch(failed);
      // What replaces a file that others may not read is never open to them.
      const at = kind === "folder" ? join(temporary, name!) : temporary;
      const file = await open(at, "w", replaces ? 0o600 : 0o666).catch(failed);
      try {
        for await (const part of data instanceof Uint8Array ? [data] : data) await file.writeFile(part).catch(failed);
        await file.sync().catch(failed);
      } finally {
        await file.close();
      }
    },
    async commit() {
      try {
        if (kind === "file") {
          await inheritPermissions(temporary, real);
          await rename(temporary, real);
        } else if (!(moves && (await swap(temporary, real)))) await replaceWithin(temporary, real);
        committed = true;
      } catch (error) {
        throw unwritable(path, error, option);
      }
    },
    async [Symbol.asyncDispose]() {
      process.off("exit", atExit);
      if (committed) return;
      await rm(temporary, { recursive: true, force: true });
      for (let folder = parent; firstMade !== undefined && folder.length >= firstMade.length; folder = dirname(folder))
        await rmdir(folder).catch(() => undefined);
    },
  };
}
