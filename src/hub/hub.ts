/**
 * A checkpoint from the hub is a folder of the cache that all its clients share. The client library finds the commit, lists
 * the files and says where they lie; which of them are needed, and that they arrive whole, is decided here: the library's own
 * downloads begin anew after an interruption and are not compared with their hashes.
 */
import { mkdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { checkVariant } from "../checkpoint/checkpoint.ts";
import type { OpenCheckpointOptions } from "../checkpoint/checkpoint.ts";
import { HubCache } from "./cache.ts";
import type { RemoteFile } from "./cache.ts";
import { download } from "./download.ts";
import { askClient, askCommit, hubAsk, hubFetch, HubUnreachable, type HubRequest } from "./fetch.ts";
import { neededFiles } from "../checkpoint/needed-files.ts";
import type { NeededFiles } from "../checkpoint/needed-files.ts";
import { hubHttpSource } from "./ranges.ts";
import { isCommit, type HubId, type HubOptions } from "./id.ts";
import { withLock } from "./lock.ts";
import { hubSettings } from "./settings.ts";
import type { HubSettings } from "./settings.ts";
import { STALL_SECONDS } from "../sources/http-guard.ts";
import { folderSource } from "../sources/folder.ts";
import { missingFile } from "../sources/source.ts";
import type { CheckpointSource } from "../sources/source.ts";

/** Files that are downloaded at once. */
const AT_ONCE = 3;
/** A repository has some hundred files at most; the hub lists a thousand on a page. */
const LISTING_PAGES = 1000;
const LISTING_ENTRIES = 200_000;
const LISTING_BYTES = 128 * 1024 * 1024;
/** The time that all of a listing may be waited for, in times of a stall. */
const LISTING_STALLS = 10;

/** What {@link hubSource} is told: what will be opened decides which files are needed. */
export interface HubSourceOptions extends OpenCheckpointOptions {
  hub?: HubOptions;
  /** Files of this folder will be read that are none of a checkpoint's, such as an adapter's: from the cache, or where they lie. */
  folder?: string;
}

type Client = typeof import("@huggingface/hub");

/**
 * A repository on the hub as a folder source on its snapshot in the cache. What of the needed files is not there, not whole
 * or not what it should be is downloaded first; when all is there, the hub is asked for the revision's commit and its list of
 * files, and for nothing at all where the revision is a commit.
 */
export async function hubSource(id: HubId, { hub = {}, folder, ...what }: HubSourceOptions = {}): Promise<CheckpointSource> {
  checkVariant(what.variant);
  const client = await import("@huggingface/hub");
  const settings = await hubSettings(id, hub, client);
  if (folder !== undefined) return (await import("./repository-folder.ts")).hubFolder(id.name, folder, settings, hub, client);
  const repository = new Repository(id.name, settings, hub, client);
  if (settings.offline) return repository.openOffline(what);
  if (isCommit(settings.revision) || hub.download === false) {
    // What a commit holds does not change; and who only reads may as well read what is here.
    const cached = await repository.cached(what);
    if (isComplete(cached) && !cached.secondChoice) return folderSource(repository.cache.snapshot(cached.commit));
  }
  if (hub.download === false) return hubHttpSource({ name: id.name, revision: null }, { ...hub, ...settings });
  let listing: Listing;
  try {
    listing = await repository.list();
  } catch (error) {
    if (!(error instanceof HubUnreachable)) throw error;
    const cached = await repository.cached(what);
    if (!isComplete(cached)) throw error;
    hub.onWarning?.(`${error.message}. The cached files of ${settings.revision} are used.`);
    return folderSource(repository.cache.snapshot(cached.commit));
  }
  return repository.open(what, listing);
}

/** A revision as the hub tells it. */
interface Listing {
  readonly commit: string;
  /** By path. */
  readonly files: ReadonlyMap<string, RemoteFile>;
}

/** A revision as the cache has it. */
interface Cached {
  /** Null when nothing is known of it. */
  readonly commit: string | null;
  /** What is needed and not there. */
  readonly missing: readonly string[];
  /** What is there and is not what it should be. */
  readonly broken: readonly string[];
  /** See {@link NeededFiles}: the hub might give another variant. */
  readonly secondChoice: boolean;
}

const isComplete = (cached: Cached): cached is Cached & { commit: string } =>
  cached.commit !== null && cached.missing.length === 0 && cached.broken.length === 0;

class Repository {
  readonly cache: HubCache;
  readonly #label: string;
  readonly #request: HubRequest;

  constructor(
    readonly name: string,
    readonly settings: HubSettings,
    readonly options: HubOptions,
    readonly client: Client,
  ) {
    this.cache = new HubCache(join(settings.cache, client.getRepoFolderName({ type: "model", name })));
    this.#label = settings.revision === "main" ? name : `${name}@${settings.revision}`;
    this.#request = { ...options, ...settings, name };
  }

  /** Asks for the revision's commit and its files. */
  async list(): Promise<Listing> {
    const { stallSeconds = STALL_SECONDS } = this.options;
    const request = { ...this.#request, budget: { bytes: LISTING_BYTES, milliseconds: LISTING_STALLS * 1000 * stallSeconds } };
    const commit = await askCommit(this.client.modelInfo, request, this.#label);
    const files = new Map<string, RemoteFile>();
    const pages = new Set<string>();
    const fetch = hubFetch(request);
    return askClient(request, this.#label, async () => {
      const list = this.client.listFiles({
        hubUrl: this.settings.endpoint,
        repo: { type: "model", name: this.name },
        revision: commit,
        recursive: true,
        fetch: (input, init) => {
          const page = String(input instanceof Request ? input.url : input);
          if (pages.has(page) || pages.size === LISTING_PAGES)
            throw this.#error(
              "the hub's list of files must end, " +
                `got ${pages.has(page) ? "a page for the second time" : `more than ${LISTING_PAGES} pages`}; check HF_ENDPOINT`,
            );
          pages.add(page);
          return fetch(input, init);
        },
      });
      let entries = 0;
      for await (const entry of list) {
        if (++entries > LISTING_ENTRIES)
          throw this.#error(`the hub's list of files must end, got more than ${LISTING_ENTRIES}; check HF_ENDPOINT`);
        if (entry.type === "file") files.set(entry.path, this.#remoteFile(entry));
      }
      return { commit, files };
    });
  }

  /** Downloads what is not there and opens the snapshot. */
  async open(what: OpenCheckpointOptions, listing: Listing): Promise<CheckpointSource> {
    const { commit } = listing;
    const { files, missing } = await neededFiles(this.#view(listing), what);
    if (missing.length > 0) throw this.#incomplete(missing, [...listing.files.keys()]);
    await this.#bring(
      commit,
      files.map((path) => listing.files.get(path)!),
      this.options.onProgress,
    );
    await this.cache.keepCommit(this.settings.revision, commit);
    await this.cache.keepChecked();
    return folderSource(this.cache.snapshot(commit));
  }

  /** Opens what is in the cache, or says what is not. */
  async openOffline(what: OpenCheckpointOptions): Promise<CheckpointSource> {
    const { commit, missing, broken } = await this.cached(what);
    const rule = `all files must be in the cache when HF_HUB_OFFLINE is set`;
    const remedy = "download once while the hub can be reached";
    if (commit === null) throw this.#error(`${rule}, got nothing of this revision in ${this.cache.folder}; ${remedy}`);
    if (missing.length > 0) throw this.#error(`${rule}, got no ${missing.join(", ")} in ${this.cache.snapshot(commit)}; ${remedy}`);
    if (broken.length > 0)
      throw this.#error(`${rule}, got ${broken.join(", ")} with another content than the hash says; ${remedy}, which mends it`);
    return folderSource(this.cache.snapshot(commit));
  }

  /** What is missing of a revision's snapshot, and what is there but not what it should be. */
  async cached(what: OpenCheckpointOptions): Promise<Cached> {
    const commit = await this.cache.commit(this.settings.revision);
    const source = commit === null ? null : await folderSource(this.cache.snapshot(commit)).catch(() => null);
    if (commit === null || source === null) return { commit: null, missing: ["model_index.json"], broken: [], secondChoice: false };
    await using snapshot = source;
    const broken = new Set<string>();
    const check = async (paths: readonly string[]): Promise<void> => {
      const files = (await Promise.all(paths.map((path) => this.cache.remembered(commit, path)))).filter((file) => file !== null);
      for (const file of await this.#notHeld(commit, files, this.options.recheck, this.options.onProgress)) broken.add(file.path);
    };
    let needed: NeededFiles = { files: [], missing: [], secondChoice: false };
    try {
      // A file that decides which others are needed is compared before it is believed.
      needed = await neededFiles(
        { ...snapshot, read: async (path, ...range) => (await check([path]), await snapshot.read(path, ...range)) },
        what,
      );
      await check(needed.files);
    } catch (error) {
      if (broken.size === 0) throw error;
    }
    await this.cache.keepChecked();
    return { commit, ...needed, broken: [...broken] };
  }

  /** Those of the files that a snapshot does not have, or not as they should be. */
  async #notHeld(
    commit: string,
    files: readonly RemoteFile[],
    recheck = false,
    onProgress?: HubOptions["onProgress"],
  ): Promise<RemoteFile[]> {
    const { signal } = this.options;
    const total = sum(files);
    const out: RemoteFile[] = [];
    let before = 0;
    for (const file of files) {
      let done = before;
      const onBytes = (bytes: number): void => onProgress?.({ phase: "check", done: (done += bytes), total, file: file.path });
      if (!(await this.cache.holds(commit, file, { recheck, onBytes, ...(signal ? { signal } : {}) }))) out.push(file);
      before += file.size;
    }
    return out;
  }

  /** The repository as a source: names from the listing, bytes through the cache. For its small files. */
  #view({ commit, files }: Listing): CheckpointSource {
    const self = { label: `${this.#label} at ${this.settings.endpoint}` };
    const find = (path: string): RemoteFile => {
      const file = files.get(path);
      if (!file) throw missingFile(self, path);
      return file;
    };
    return {
      ...self,
      list: async () => [...files.values()],
      exists: async (path) => files.has(path),
      size: async (path) => find(path).size,
      read: async (path, ...range) => {
        await this.#bring(commit, [find(path)]);
        await using folder = await folderSource(this.cache.snapshot(commit));
        return await folder.read(path, ...range);
      },
      [Symbol.asyncDispose]: async () => undefined,
    };
  }

  /** Sees to it that the snapshot has these files. */
  async #bring(commit: string, files: readonly RemoteFile[], onProgress?: HubOptions["onProgress"]): Promise<void> {
    const { signal, recheck } = this.options;
    if ((await this.#notHeld(commit, files, recheck, onProgress)).length === 0) return;
    const onWait = (): void => this.options.onProgress?.({ phase: "wait", done: 0, total: 0, file: "" });
    await this.#writing(() =>
      withLock(
        this.cache.lock,
        async () => {
          // Another process may have brought some while this one waited; blobs of other commits need a link only.
          const blobs = new Map<string, RemoteFile>();
          const left = await this.#notHeld(commit, files);
          for (const file of left) {
            if (!(await this.cache.holdsBlob(file, signal ? { signal } : {}))) blobs.set(file.blob, file);
          }
          await this.#downloadAll(commit, [...blobs.values()], onProgress);
          for (const file of left) await this.cache.place(commit, file);
          await this.cache.keepChecked();
        },
        { ...(signal ? { signal } : {}), onWait },
      ),
    );
  }

  /** The disk's errors as words. */
  async #writing<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const { code, syscall } = error as NodeJS.ErrnoException;
      if (error instanceof CogwheelError || code === undefined || syscall === undefined) throw error;
      throw code === "ENOSPC"
        ? this.#error(
            `the cache's disk must have room, got a full disk; make room and run again, the download goes on from where it is`,
            error,
          )
        : this.#error(
            `the cache in ${this.cache.folder} must be writable, got ${code} for ${syscall}; ` +
              "check its permissions, or set HF_HUB_CACHE to another folder",
            error,
          );
    }
  }

  async #downloadAll(commit: string, files: readonly RemoteFile[], onProgress?: HubOptions["onProgress"]): Promise<void> {
    if (files.length === 0) return;
    for (const file of files) await this.cache.beginBlob(file);
    await this.#checkRoom(files);
    const total = sum(files);
    let done = 0;
    const report = (bytes: number, file: string): void => onProgress?.({ phase: "download", done: (done += bytes), total, file });
    const stop = new AbortController();
    const signal = this.options.signal ? AbortSignal.any([this.options.signal, stop.signal]) : stop.signal;
    // What fails is tried again as a whole: where a file lies is asked anew.
    const request = { ...this.#request, signal, tries: 1 };
    const queue = [...files];
    const work = async (): Promise<void> => {
      for (let file = queue.shift(); file && !signal.aborted; file = queue.shift()) await this.#downloadOne(commit, file, request, report);
    };
    // The first failure stops the others; what they have is kept.
    const results = await Promise.allSettled(
      Array.from({ length: AT_ONCE }, () =>
        work().catch((error: unknown) => {
          stop.abort(error);
          throw error;
        }),
      ),
    );
    this.options.signal?.throwIfAborted();
    if (stop.signal.aborted) throw stop.signal.reason;
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  async #downloadOne(
    commit: string,
    file: RemoteFile,
    request: HubRequest & { signal: AbortSignal },
    report: (bytes: number, file: string) => void,
  ): Promise<void> {
    await download({
      label: `${this.#label}/${file.path}`,
      locate: () => this.#locate(commit, file, request),
      ask: (address, headers) => hubAsk(request, address, headers),
      signal: request.signal,
      stallSeconds: request.stallSeconds,
      part: this.cache.part(file.blob),
      size: file.size,
      digest: file.digest,
      onBytes: (bytes) => report(bytes, file.path),
    });
    await this.cache.endBlob(file);
  }

  /** Where a file lies. What the hub says of it there must be what it said in its list. */
  async #locate(commit: string, file: RemoteFile, request: HubRequest): Promise<string> {
    const info = await askClient(request, this.#label, () =>
      this.client.fileDownloadInfo({
        repo: { type: "model", name: this.name },
        revision: commit,
        hubUrl: this.settings.endpoint,
        path: file.path.split("/").map(encodeURIComponent).join("/"),
        fetch: hubFetch(request),
      }),
    );
    if (!info) throw this.#error(`the hub must have the files that it lists, got no ${file.path}; try again`);
    const etag = info.etag.replace(/^W\//, "").replaceAll('"', "");
    if (info.size !== file.size)
      throw this.#error(
        `${file.path} must have the ${file.size} bytes that the hub lists, got ${info.size}; try again, or another endpoint`,
      );
    if (file.digest?.algorithm === "sha256" && /^[0-9a-f]{64}$/.test(etag) && etag !== file.digest.value) {
      throw this.#error(
        `${file.path} must have the SHA-256 ${file.digest.value} that the hub lists, got ${etag}; try again, or another endpoint`,
      );
    }
    return info.url;
  }

  async #checkRoom(files: readonly RemoteFile[]): Promise<void> {
    await mkdir(this.cache.folder, { recursive: true });
    let needed = 0;
    for (const file of files) needed += Math.max(0, file.size - (await this.cache.partSize(file.blob)));
    const { bavail, bsize } = await statfs(this.cache.folder);
    if (needed > bavail * bsize) {
      throw this.#error(
        `the download needs ${giga(needed)} on the disk of ${this.settings.cache}, got ${giga(bavail * bsize)} free; ` +
          "make room, or set HF_HUB_CACHE to a folder on another disk",
      );
    }
  }

  #remoteFile({
    path,
    size,
    oid,
    lfs,
    xetHash,
  }: {
    path: string;
    size: number;
    oid?: string;
    lfs?: { oid: string; size: number };
    xetHash?: string;
  }): RemoteFile {
    const digest = lfs
      ? { algorithm: "sha256" as const, value: lfs.oid }
      : xetHash === undefined && oid !== undefined
        ? { algorithm: "git-sha1" as const, value: oid }
        : null;
    const blob = digest?.value ?? xetHash;
    // It becomes a file's name.
    if (typeof path !== "string" || !Number.isSafeInteger(lfs?.size ?? size) || (lfs?.size ?? size) < 0)
      throw this.#error(
        "the hub must list a path and a size for every file, " +
          `got ${JSON.stringify({ path, size: lfs?.size ?? size }).slice(0, 200)}; check HF_ENDPOINT`,
      );
    if (typeof blob !== "string" || !/^[0-9a-f]{40,64}$/.test(blob))
      throw this.#error(
        `the hub must list a hash for every file, got ${JSON.stringify(blob)?.slice(0, 80) ?? "none"} for ${path}; check HF_ENDPOINT`,
      );
    return { path, size: lfs?.size ?? size, blob, digest };
  }

  /** The repository is not what can be opened; what lies there instead is told. */
  #incomplete(missing: readonly string[], listed: readonly string[]): CogwheelError {
    const folders = new Set(missing.map((path) => path.slice(0, path.lastIndexOf("/") + 1)));
    const instead = listed
      .filter((path) => folders.has(path.slice(0, path.lastIndexOf("/") + 1)) && /\.(safetensors|bin|json|model|pt|pth|ckpt)$/.test(path))
      .slice(0, 12);
    return this.#error(
      "the repository must hold a checkpoint in diffusers' layout with safetensors, " +
        `got no ${missing.join(", ")}${instead.length > 0 ? ` beside ${instead.join(", ")}` : ""}; ` +
        "choose another variant, revision or repository",
    );
  }

  #error(rule: string, cause?: unknown): CogwheelError {
    return new CogwheelError("hub", `${this.#label}: ${rule}`, cause === undefined ? undefined : { cause });
  }
}

const sum = (files: readonly RemoteFile[]): number => files.reduce((bytes, { size }) => bytes + size, 0);
const giga = (bytes: number): string => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`);
