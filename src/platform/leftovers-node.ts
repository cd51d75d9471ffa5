/**
 * Names of what is not yet whole, in Node. A name tells whose it is, so that what a killed process left behind can be told from what
 * another one is writing right now: `.NAME.PID-HOST-START-RANDOM.ENDING`. HOST is a digest of the machine's name and of the processes
 * that it can see (a container has its own pids), and START is when the process began, so that a number that is given out again is no
 * disguise.
 */
import { createHash, randomBytes } from "node:crypto";
import { readlinkSync } from "node:fs";
import { readdir, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, join } from "node:path";
import { isRunning, startOf } from "./process-node.ts";

/**
 * `part`: not whole, of no use to anybody else. `old`: a folder that another one is to replace, whole. `new`: a whole folder within the
 * one whose files it is to replace.
 */
export type Ending = "part" | "old" | "new";

/** Of another machine (on a shared disk), or of one that tells too little, only age tells: nobody writes for so long. */
const ABANDONED_MS = 24 * 3600e3;

const NAME = /^\.(.*)\.(\d+)-([0-9a-f]{8})-([0-9a-z]+)-[0-9a-f]{8}\.(part|old|new)$/s;
/** Names of versions before: without host and start. */
const EARLIER = /^\.(.*)\.(\d+)-[0-9a-z]{1,6}\.(part)$/s;

/** What stands for this machine, as far as its processes see each other. */
export const ownHost = createHash("sha256").update(`${hostname()} ${pidNamespace()}`).digest("hex").slice(0, 8);

function pidNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "";
  }
}

/** When a process began; "0" where that cannot be known. */
const beginningOf = (pid: number | "self"): string => startOf(pid) ?? "0";
/** Of this process, as part of a name. */
const ownBeginning = BigInt(beginningOf("self")).toString(36);

/**
 * What stands for a path's name in its temporary names. A name has at most 255 bytes: of a long
 * one its beginning, and a digest of the whole.
 */
function stem(path: string): string {
  const name = basename(path);
  if (Buffer.byteLength(name) <= 160) return name;
  const characters = [...name];
  while (Buffer.byteLength(characters.join("")) > 140) characters.pop();
  return `${characters.join("")}~${createHash("sha256").update(name).digest("hex").slice(0, 16)}`;
}

/** A name beside `path` that no other process and no other call uses. */
export function temporaryName(path: string, ending: Ending = "part"): string {
  return `.${stem(path)}.${process.pid}-${ownHost}-${ownBeginning}-${randomBytes(4).toString("hex")}.${ending}`;
}

/** The same name with another ending. */
export const withEnding = (name: string, ending: Ending): string => name.replace(/\.\w+$/, `.${ending}`);

/** Whether a file has a name that `temporaryName` makes, here or elsewhere. */
export const isTemporary = (name: string): boolean => NAME.test(name) || EARLIER.test(name);

/** What processes that are gone left in a folder under temporary names with this ending: those of `path`, or all. */
export async function leftovers(folder: string, ending: Ending, path?: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    const [, of, pid, where, start, kind] = NAME.exec(name) ?? earlier(name, path);
    if (kind !== ending || (path !== undefined && of !== stem(path))) continue;
    if (await isLeft(join(folder, name), Number(pid), where!, start!)) found.push(name);
  }
  return found;
}

/** Other programs may make such names too, so that the path must be one's own. */
function earlier(name: string, path: string | undefined): readonly (string | undefined)[] {
  const [, of, pid, kind] = (path !== undefined && EARLIER.exec(name)) || [];
  return [name, of, pid, ownHost, "0", kind];
}

async function isLeft(path: string, pid: number, where: string, start: string): Promise<boolean> {
  if (where === ownHost) {
    if (!isRunning(pid)) return true;
    const now = beginningOf(pid);
    if (now !== "0" && start !== "0") return BigInt(now).toString(36) !== start;
  }
  const info = await stat(path).catch(() => undefined);
  return info !== undefined && Date.now() - info.mtimeMs > ABANDONED_MS;
}

/**
 * Removes what killed processes left unfinished in a folder, of any path and of `path` in particular. What
 * cannot be removed stays: it is in nobody's way.
 */
export async function removeLeftovers(folder: string, path?: string): Promise<void> {
  const names = new Set([...(await leftovers(folder, "part")), ...(path === undefined ? [] : await leftovers(folder, "part", path))]);
  for (const name of names) await rm(join(folder, name), { recursive: true, force: true }).catch(() => undefined);
}
