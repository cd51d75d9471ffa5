/** Results that are worth keeping for a user's other runs, in Node: files below the folder that the system has for a user's caches. */
import { mkdir, open, readdir, readFile, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { bytesOfText } from "../base/units.ts";
import { CogwheelError } from "../base/errors.ts";
import { cachePath } from "./cache-node.ts";
import { isTemporary } from "./leftovers-node.ts";
import { openOutput } from "./output-node.ts";
import { systemWords } from "./system-error.ts";
import type { KeptFile, KeptFiles } from "./types.ts";

/** `off`, or how many bytes may be kept, such as 2GB. */
const VARIABLE = "COGWHEEL_PROMPT_CACHE";

export async function keptFiles(kind: string, evenIfOff = false): Promise<KeptFiles | undefined> {
  const told = process.env[VARIABLE] || undefined;
  if (told === "off") return evenIfOff ? keptIn(cachePath(kind), undefined) : undefined;
  const limit = told === undefined ? undefined : bytesOfText(told);
  if (told !== undefined && limit === undefined)
    throw new CogwheelError("cache", `${VARIABLE} must be off or a number of bytes such as 2GB, got ${JSON.stringify(told)}; correct it`);
  return keptIn(cachePath(kind), limit);
}

/** The same in a folder that a user names. */
export const keptAt = (folder: string): KeptFiles => keptIn(folder, undefined);

function keptIn(folder: string, limitBytes: number | undefined): KeptFiles {
  /** A file's size, and when it was last used. */
  const look = async (name: string): Promise<KeptFile | undefined> => {
    const info = await stat(join(folder, name)).catch(() => undefined);
    return info?.isFile() ? { name, bytes: info.size, used: info.mtimeMs } : undefined;
  };
  const peek = async (name: string, most: number, first?: number): Promise<Uint8Array<ArrayBuffer> | undefined> => {
    const found = await look(name);
    if (!found || found.bytes > most) return undefined;
    if (first === undefined) return new Uint8Array(await readFile(join(folder, name)));
    await using file = await open(join(folder, name));
    const { buffer, bytesRead } = await file.read(new Uint8Array(Math.min(first, found.bytes)));
    return buffer.subarray(0, bytesRead);
  };
  return {
    place: folder,
    ...(limitBytes === undefined ? {} : { limitBytes }),
    async list() {
      const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return [];
        throw new CogwheelError(
          "cache",
          `${folder} must be a folder that can be read, got ${systemWords(error)}; correct it, or take it away`,
          {
            cause: error,
          },
        );
      });
      const found = await Promise.all(names.filter((name) => !isTemporary(name)).map(look));
      return found.filter((file) => file !== undefined);
    },
    peek,
    async read(name, most) {
      const bytes = await peek(name, most);
      const now = new Date();
      if (bytes) await utimes(join(folder, name), now, now).catch(() => undefined); // what was used last goes last
      return bytes;
    },
    async write(name, bytes) {
      // Prompts are nobody else's business.
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await using output = await openOutput(join(folder, name), "file");
      await output.write(bytes);
      await output.commit();
    },
    async remove(name) {
      await rm(join(folder, name), { force: true });
    },
  };
}
