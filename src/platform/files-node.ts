/** Files, in Node: results appear complete or not at all. */
import { mkdir, open, readdir, readFile, realpath, rename, rm, rmdir, stat, unlink, writeFile } from "node:fs/promises";
import { rmSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { CogwheelError } from "../errors.ts";
import type { OutputFiles } from "./types.ts";

/** The files of a folder of pictures; what has such a name is replaced together with the others. */
const FRAME = /^frame-\d{4,}\.png$/;

type Kind = "file" | "folder";

async function kindOf(path: string): Promise<Kind | "other" | undefined> {
  try {
    const found = await stat(path);
    return found.isFile() ? "file" : found.isDirectory() ? "folder" : "other";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unwritable(path, error);
  }
}

function unwritable(path: string, error: unknown): CogwheelError {
  return new CogwheelError("output", `${path} must be a place that can be written, got ${(error as Error).message}; choose another with --out.`, { cause: error });
}

/** The real path, so that what a link points to is replaced and not the link. */
async function target(path: string): Promise<string> {
  const full = resolve(path);
  return realpath(full).catch(() => full);
}

const temporaryName = (path: string): string => `.${basename(path)}.${process.pid}-${Math.random().toString(36).slice(2, 8)}.part`;

/** Writes, and takes away again, a small file in the folder, or where the folder would have to be made. */
async function tryWriting(folder: string, path: string): Promise<void> {
  let at = folder;
  let kind = await kindOf(at);
  while (kind === undefined && dirname(at) !== at) kind = await kindOf((at = dirname(at)));
  if (kind !== "folder") throw new CogwheelError("output", `${path} must be in a folder, got the file ${at}; choose another place with --out.`);
  const trial = join(at, temporaryName(path));
  try {
    await writeFile(trial, "cogwheel", { flag: "wx" });
    await unlink(trial);
  } catch (error) {
    throw unwritable(path, error);
  }
}

export async function checkWritable(path: string, kind: Kind): Promise<void> {
  const real = await target(path);
  const present = await kindOf(real);
  if (present !== undefined && present !== kind) {
    const got = present === "other" ? "a device or pipe" : `a ${present}`;
    throw new CogwheelError("output", `${path} must be a ${kind} or not exist yet, got ${got}; choose another name with --out.`);
  }
  if (kind === "folder" && present) {
    const foreign = (await readdir(real)).find((name) => !FRAME.test(name));
    if (foreign !== undefined) {
      throw new CogwheelError("output", `${path} must be empty or hold only the frame-NNNN.png of an earlier run, which are replaced, got ${foreign}; choose another folder with --out.`);
    }
  }
  await tryWriting(kind === "folder" && present ? real : dirname(real), path);
}

export async function openOutput(path: string, kind: Kind): Promise<OutputFiles> {
  await checkWritable(path, kind);
  const real = await target(path);
  const parent = dirname(real);
  const into = kind === "folder" && (await kindOf(real)) === "folder";
  const firstMade = await mkdir(parent, { recursive: true }).catch((error: unknown) => {
    throw unwritable(path, error);
  });
  // An existing folder may be a mount point, which cannot be renamed: its files are then collected inside of it.
  const temporary = join(into ? real : parent, temporaryName(real));
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
        throw unwritable(path, error);
      }
    },
    async commit() {
      try {
        if (into) {
          const fresh = await readdir(temporary);
          for (const name of fresh) await rename(join(temporary, name), join(real, name));
          for (const name of await readdir(real)) if (FRAME.test(name) && !fresh.includes(name)) await unlink(join(real, name));
          await rmdir(temporary);
        } else {
          await rename(temporary, real);
        }
        committed = true;
      } catch (error) {
        throw unwritable(path, error);
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

export async function readInput(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new CogwheelError("video", `${path} must be a file that can be read, got ${(error as Error).message}; check the path.`, { cause: error });
  }
}

export async function listFolder(path: string): Promise<string[] | undefined> {
  return (await kindOf(resolve(path))) === "folder" ? (await readdir(path)).sort() : undefined;
}

/** WebCodecs for Node: the classes of `@napi-rs/webcodecs`, loaded when first needed, and only where there are none. */
export async function installWebCodecs(): Promise<void> {
  const scope = globalThis as unknown as Record<string, unknown>;
  if (scope["VideoEncoder"] && scope["VideoDecoder"] && scope["VideoFrame"]) return;
  let codecs: Record<string, unknown>;
  try {
    codecs = (await import("@napi-rs/webcodecs")) as unknown as Record<string, unknown>;
  } catch (error) {
    throw new CogwheelError("video", `MP4 and WebM need the package @napi-rs/webcodecs, got ${(error as Error).message}; run \`npm i @napi-rs/webcodecs@1.3.1\`, or write gif or png`, { cause: error });
  }
  for (const name of ["VideoEncoder", "VideoDecoder", "VideoFrame", "VideoColorSpace", "EncodedVideoChunk"]) scope[name] ??= codecs[name];
}
