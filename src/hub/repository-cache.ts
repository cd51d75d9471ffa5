/** The cache of the hub's clients as a whole: which repositories of models it holds, where, and how many bytes. */
import { lstat, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { HubCache } from "./cache.ts";
import type { HubId, HubOptions } from "./id.ts";
import { withLock } from "./lock.ts";
import { hubSettings } from "./settings.ts";

/** A repository in the cache. */
export interface CachedRepository {
  /** `org/name`. */
  readonly name: string;
  readonly folder: string;
  /** On the disk, all revisions together, and what an interrupted download left. */
  readonly bytes: number;
}

const PREFIX = "models--";

/** All of them, by name; none where there is no cache yet. */
export async function cachedRepositories(hub: HubOptions = {}): Promise<CachedRepository[]> {
  const client = await import("@huggingface/hub");
  const { cache } = await hubSettings({ name: "any/any", revision: null }, hub, client);
  const names = (await readdir(cache).catch(() => [])).filter((name) => name.startsWith(PREFIX) && name.split("--").length === 3);
  return await Promise.all(
    names.sort().map(async (entry) => {
      const folder = join(cache, entry);
      return { name: entry.slice(PREFIX.length).replace("--", "/"), folder, bytes: await bytesIn(folder) };
    }),
  );
}

/** Removes a repository from the cache; one that is being downloaded is waited for. @returns bytes that were freed */
export async function removeRepository({ name }: HubId, hub: HubOptions & { onWait?: () => void } = {}): Promise<number> {
  const { onWait, ...options } = hub;
  const found = (await cachedRepositories(options)).find((one) => one.name.toLowerCase() === name.toLowerCase());
  if (!found)
    throw new CogwheelError(
      "hub",
      `${name}: a model that is removed must be in the cache, got none of that name; \`cogwheel models\` lists them`,
    );
  await withLock(new HubCache(found.folder).lock, () => rm(found.folder, { recursive: true }), {
    ...(onWait ? { onWait } : {}),
    ...(options.signal ? { signal: options.signal } : {}),
  });
  return found.bytes;
}

/** Links are not followed: each blob counts once. */
async function bytesIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => [])) {
    if (!entry.isFile()) continue;
    bytes += (await lstat(join(entry.parentPath ?? (entry as unknown as { path: string }).path, entry.name)).catch(() => ({ size: 0 })))
      .size;
  }
  return bytes;
}
