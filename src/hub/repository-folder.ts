/** A folder in a repository on the hub, as a source. */
import { join } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { HubCache } from "./cache.ts";
import { askCommit, HubUnreachable, type HubRequest } from "./fetch.ts";
import { hubRanges } from "./ranges.ts";
import { isCommit, type HubOptions } from "./id.ts";
import type { HubSettings } from "./settings.ts";
import { folderSource } from "../sources/folder.ts";
import { checkPath, missingFile, type CheckpointSource } from "../sources/source.ts";

/**
 * A folder of a repository on the hub, for files that are none of a checkpoint's. What the cache has of the revision's commit, and as it
 * should be, is read there; the rest where it lies, by ranges, unless nobody is to be asked or nobody answers.
 *
 * @param folder path in the repository, "" for its top
 */
export async function hubFolder(
  name: string,
  folder: string,
  settings: HubSettings,
  hub: HubOptions,
  client: typeof import("@huggingface/hub"),
): Promise<CheckpointSource> {
  if (folder !== "") checkPath({ label: name }, folder);
  const cache = new HubCache(join(settings.cache, client.getRepoFolderName({ type: "model", name })));
  const label = settings.revision === "main" ? name : `${name}@${settings.revision}`;
  const request: HubRequest = { ...hub, ...settings, name };
  const { commit, isOnline } = await commitOf();
  const remote = isOnline ? hubRanges(request, commit, folder) : null;
  const local = await folderSource(join(cache.snapshot(commit), folder)).catch(() => null);
  const held = new Map<string, Promise<boolean>>();

  async function commitOf(): Promise<{ commit: string; isOnline: boolean }> {
    const cached = await cache.commit(settings.revision);
    if (settings.offline) {
      if (cached !== null) return { commit: cached, isOnline: false };
      throw new CogwheelError(
        "hub",
        `${label}: all files must be in the cache when HF_HUB_OFFLINE is set, got nothing of this revision in ${cache.folder}; ${REMEDY}`,
      );
    }
    if (isCommit(settings.revision)) return { commit: settings.revision, isOnline: true };
    try {
      return { commit: await askCommit(client.modelInfo, request, label), isOnline: true };
    } catch (error) {
      if (!(error instanceof HubUnreachable) || cached === null) throw error;
      hub.onWarning?.(`${error.message}. The cached files of ${settings.revision} are used.`);
      return { commit: cached, isOnline: false };
    }
  }

  /** Whether the cache has a file. One that is not what its hash says is refused where there is no other. */
  function isHeld(path: string): Promise<boolean> {
    let answer = held.get(path);
    if (!answer) held.set(path, (answer = look(path)));
    return answer;
  }
  async function look(path: string): Promise<boolean> {
    if (local === null || !(await local.exists(path))) return false;
    const inside = folder === "" ? path : `${folder}/${path}`;
    const file = await cache.remembered(commit, inside);
    const { recheck = false, signal } = hub;
    if (file !== null && (await cache.holds(commit, file, { recheck, ...(signal ? { signal } : {}) }))) return true;
    if (remote === null)
      throw new CogwheelError(
        "hub",
        `${label}: a file of the cache must be what its hash says, got another content of ${inside}; ${REMEDY}`,
      );
    return false;
  }
  const sourceOf = async (path: string): Promise<CheckpointSource> => {
    const source = (await isHeld(path)) ? local : remote;
    if (source === null) throw missingFile({ label: join(cache.snapshot(commit), folder) }, path);
    return source;
  };
  return {
    label: remote?.label ?? join(cache.snapshot(commit), folder),
    list: async () => (remote ?? local)?.list() ?? [],
    exists: async (path) => (await isHeld(path)) || ((await remote?.exists(path)) ?? false),
    size: async (path) => (await sourceOf(path)).size(path),
    read: async (path, ...range) => (await sourceOf(path)).read(path, ...range),
    async [Symbol.asyncDispose]() {
      await cache.keepChecked();
      await Promise.all([local, remote].map((source) => source?.[Symbol.asyncDispose]()));
    },
  };
}

const REMEDY = "download it with the hub's command line, or save the file and pass its path";
