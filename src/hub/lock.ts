/**
 * One process at a time downloads a repository; others wait and find the files there. The lock is a file that says who made
 * it and is touched while its owner lives. It only saves work: should two owners meet in spite of it, both write the same
 * bytes to the same places.
 */
import { randomUUID } from "node:crypto";
import { link, mkdir, open, readFile, rename, stat, unlink, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { pause } from "../base/pause.ts";

/** A lock that was not touched for so long is left over. */
const STALE_MS = 60_000;
const TOUCH_MS = 10_000;
const POLL_MS = 200;

interface Owner {
  pid: number;
  host: string;
  key: string;
}

/** Options of {@link withLock}. */
export interface LockOptions {
  signal?: AbortSignal;
  /** Called once when another process holds the lock. */
  onWait?: () => void;
}

/** Does `work` while no other process does work under the same path. */
export async function withLock<T>(path: string, work: () => Promise<T>, { signal, onWait }: LockOptions = {}): Promise<T> {
  const self: Owner = { pid: process.pid, host: hostname(), key: randomUUID() };
  for (let waited = false; !(await take(path, self)); waited = true) {
    if (await removeStale(path)) continue;
    if (!waited) onWait?.();
    await pause(POLL_MS, signal);
  }
  const touch = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => undefined), TOUCH_MS).unref();
  try {
    return await work();
  } finally {
    clearInterval(touch);
    if ((await owner(path))?.key === self.key) await unlink(path).catch(() => undefined);
  }
}

async function take(path: string, self: Owner): Promise<boolean> {
  const unwritable = (cause: NodeJS.ErrnoException): never => {
    throw new CogwheelError(
      "hub",
      `${dirname(path)}: the cache must be writable, got ${cause.code ?? String(cause)}; ` +
        "check its permissions, or set HF_HUB_CACHE to another folder",
      { cause },
    );
  };
  await mkdir(dirname(path), { recursive: true }).catch(unwritable);
  const handle = await open(path, "wx").catch((cause: NodeJS.ErrnoException) => (cause.code === "EEXIST" ? null : unwritable(cause)));
  try {
    await handle?.writeFile(JSON.stringify(self));
  } finally {
    await handle?.close();
  }
  return handle !== null;
}

async function owner(path: string): Promise<Owner | null> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Owner;
  } catch {
    return null; // gone, or not yet written
  }
}

async function removeStale(path: string): Promise<boolean> {
  const info = await stat(path).catch(() => null);
  if (!info) return true;
  const found = await owner(path);
  const dead = found !== null && found.host === hostname() && !isAlive(found.pid);
  if (!dead && Date.now() - info.mtimeMs < STALE_MS) return false;
  // Another process may have removed it and made its own since: what is not the file that was judged goes back.
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch {
    return true;
  }
  if ((await owner(aside))?.key !== found?.key) await link(aside, path).catch(() => undefined);
  await unlink(aside);
  return true;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
