/** Files that commands read and write. */
import { checkWritable, openOutput } from "#platform";
import { stat } from "node:fs/promises";
import { resolve, sep } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { readChunks } from "../platform/chunks-node.ts";
import { realTarget } from "../platform/output-path-node.ts";
import { systemWords } from "../platform/system-error.ts";

/** What of a device or a pipe is read: it may never end. Latents of a hundred films are not as large. */
const MOST_WITHOUT_SIZE = 2 ** 28;

/**
 * What the user named, whole.
 * @param limit the most bytes that it may have; default: a file's size, and 256 MiB of what has none (a pipe, a device)
 */
export async function readInput(path: string, { limit, signal }: { limit?: number; signal?: AbortSignal } = {}): Promise<Uint8Array> {
  try {
    const most = limit ?? Math.max(MOST_WITHOUT_SIZE, (await stat(path)).size);
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of readChunks(path, signal)) {
      size += chunk.length;
      if (size > most)
        throw new CogwheelError("input", `${path} must have at most ${most.toLocaleString("en")} bytes, got more; check the path`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } catch (error) {
    if (error instanceof CogwheelError) throw error;
    signal?.throwIfAborted();
    throw new CogwheelError("input", `${path} must be a readable file, got ${systemWords(error)}; check the path`, { cause: error });
  }
}

/** What comes by standard input, whole. @param limit the most bytes that it may have */
export async function readStandardInput(limit: number): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit)
      throw new CogwheelError(
        "input",
        `standard input must have at most ${limit.toLocaleString("en")} bytes, got more; check what writes it`,
      );
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/**
 * Finds out, before any work, whether a file can be written.
 * @param option what the user names it with, for the remedy
 */
export async function checkOutputFile(path: string, option: string): Promise<void> {
  await checkWritable(path, "file", option);
}

/** Writes a file, whole or not at all; its folder is made. */
export async function writeWhole(path: string, bytes: Uint8Array | AsyncIterable<Uint8Array>, option: string): Promise<void> {
  await using output = await openOutput(path, "file", option);
  await output.write(bytes);
  await output.commit();
}

/** A path and the option that it was given with. */
export type Named = readonly [option: string, path: string | undefined];

/** Refuses results that would take the place of one another, or of what they are made from, by whatever names. */
export async function checkDistinct(outputs: readonly Named[], inputs: readonly Named[]): Promise<void> {
  const places: { option: string; path: string; place: Place }[] = [];
  for (const [option, path] of outputs) {
    if (path === undefined) continue;
    const place = await placeOf(path);
    for (const [of, input] of inputs) {
      if (input === undefined) continue;
      const from = await placeOf(input);
      if (same(place, from) || (place.id !== undefined && from.folder && place.real.startsWith(from.real + sep))) {
        throw new CogwheelError(
          "output",
          `${option} must not be what the result is made from, got ${path}, ` +
            `which ${same(place, from) ? `${of} reads` : `belongs to ${of} ${input}`}; choose another place with ${option}.`,
        );
      }
    }
    const other = places.find((one) => same(one.place, place));
    if (other)
      throw new CogwheelError(
        "output",
        `results must have places of their own, got ${path} for ${other.option} and ${option}; choose another with ${option}.`,
      );
    places.push({ option, path, place });
  }
}

interface Place {
  readonly real: string;
  /** Device and file number, of what is there. */
  readonly id: string | undefined;
  readonly folder: boolean;
}

async function placeOf(path: string): Promise<Place> {
  const real = await realTarget(path).catch(() => resolve(path));
  const found = await stat(real, { bigint: true }).catch(() => undefined);
  return { real, id: found && `${found.dev}:${found.ino}`, folder: found?.isDirectory() ?? false };
}

/**
 * Whether two paths are one; where disks usually ignore case, and nothing is there yet to ask,
 * names that differ in nothing else count as one.
 */
export function samePath(a: string, b: string, platform: NodeJS.Platform = process.platform): boolean {
  const plain = (path: string): string => (platform === "darwin" || platform === "win32" ? path.normalize("NFC").toLowerCase() : path);
  return plain(a) === plain(b);
}

const same = (a: Place, b: Place): boolean => samePath(a.real, b.real) || (a.id !== undefined && a.id === b.id);
