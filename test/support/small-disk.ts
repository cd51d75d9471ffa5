/** A disk that a test may fill: a file system in memory, where this user may mount one (Linux, root). */
import { execFile } from "node:child_process";
import { mkdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
  /** Takes all but so many bytes. */
  fill(left: number): Promise<void>;
  /** Gives back what was taken. */
  makeRoom(): Promise<void>;
}

/** Why this user may mount none; undefined where one may. */
export async function noDisks(folder: string): Promise<string | undefined> {
  const path = join(folder, "try");
  try {
    await mkdir(path, { recursive: true });
    await run("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", path]);
    await run("umount", [path]);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

export async function smallDisk(path: string, bytes: number): Promise<SmallDisk> {
  await mkdir(path, { recursive: true });
  await run("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", path]);
  const filler = join(path, "filler");
  return {
    path,
    async fill(left) {
      const { stdout } = await run("df", ["--output=avail", "-B1", path]);
      const before = (await stat(filler).catch(() => undefined))?.size ?? 0;
      const free = before + Number(stdout.trim().split("\n").at(-1));
      // Whoever writes there meanwhile may leave less: it is full then.
      await writeFile(filler, Buffer.alloc(Math.max(0, free - left), 1)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOSPC") throw error;
      });
    },
    makeRoom: () => rm(filler, { force: true }),
    async [Symbol.asyncDispose]() {
      // Whoever was killed may hold it for a moment.
      await run("umount", ["-l", path]);
    },
  };
}
