/** What names a repository on the hub, and what may be said about how it is fetched. Shared by Node and the browser. */
import { CogwheelError } from "../base/errors.ts";
import { checkStallSeconds } from "../sources/http-guard.ts";

/** `org/name`, or `org/name@revision`. */
export interface HubId {
  /** `org/name`. */
  readonly name: string;
  /** A branch, a tag or a commit, where the id says one. */
  readonly revision: string | null;
}

/** How far a download is. */
export interface HubProgress {
  /** `check`: files that are there are compared with their hashes; `wait`: another process downloads; `download`: bytes arrive. */
  readonly phase: "check" | "wait" | "download";
  /** Bytes; what an interrupted download left counts as done. */
  readonly done: number;
  /** Bytes of all files that are checked or downloaded now; 0 while waiting. */
  readonly total: number;
  /** The file at work, as a path in the repository; empty while waiting. */
  readonly file: string;
}

/** How a repository is fetched. Where an option is left out, the environment variable of the standard clients counts (in Node). */
export interface HubOptions {
  /** A branch, a tag or a commit. Default: what the id says after `@`, else `main`. */
  revision?: string;
  /** The hub's address. Default: HF_ENDPOINT, else the client's own. */
  endpoint?: string;
  /**
   * Sent to the endpoint's host and to no other; null sends none. Default: HF_TOKEN, else the
   * file that the hub's command line keeps it in.
   */
  token?: string | null;
  /** Node: the cache's folder. Default: HF_HUB_CACHE, else `hub` in HF_HOME, else the client's own. */
  cache?: string;
  /** Node: use what is in the cache and ask nobody. Default: HF_HUB_OFFLINE. */
  offline?: boolean;
  /** Node: false reads what is not in the cache over the network by ranges, as a browser does, and keeps nothing. Default true. */
  download?: boolean;
  /** Node: compare all files with their hashes again, also those that did not change since they were compared. Default false. */
  recheck?: boolean;
  /** Stops every request; what was downloaded is kept and gone on with. */
  signal?: AbortSignal;
  /** Node: called while files are checked and downloaded; never when all are in the cache. */
  onProgress?: (progress: HubProgress) => void;
  /** Things the user should know: the hub could not be reached and the cache was used. */
  onWarning?: (message: string) => void;
  /** Called instead of the global `fetch`, e.g. to use a proxy. */
  fetch?: typeof globalThis.fetch;
  /** Seconds in which a server may bring less than 1 KB a second, before it is asked again and then left. Default 30. */
  stallSeconds?: number;
}

const KNOWN: ReadonlySet<string> = new Set<keyof HubOptions>([
  "revision",
  "endpoint",
  "token",
  "cache",
  "offline",
  "download",
  "recheck",
  "signal",
  "onProgress",
  "onWarning",
  "fetch",
  "stallSeconds",
]);

/** What an address begins with that names no model: kinds of repositories, and pages that are none of a repository. */
export const NOT_AN_OWNER: ReadonlySet<string> = new Set([
  "models",
  "datasets",
  "spaces",
  "buckets",
  "kernels",
  "collections",
  "papers",
  "docs",
  "blog",
]);
const HOST = "(?:www\\.)?(?:hf\\.co|huggingface\\.co)";
const HUB_HOST = new RegExp(`^${HOST}$`, "i");
const HUB_ADDRESS = new RegExp(`^(?:hf://|(?:https?://)?${HOST}(?:[/:]|$))`, "i");
const PART = "[A-Za-z0-9](?:[\\w.-]*[A-Za-z0-9_])?";
const ID = new RegExp(`^(${PART})/(${PART})(?:@(.*))?$`);

/** Whether text is a whole commit's name. */
export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);

/** Whether a host's name is the hub's. */
export const isHubHost = (name: string): boolean => HUB_HOST.test(name);

/**
 * Whether text is an address at the hub, at the mirror that `endpoint` names, or of the scheme
 * `hf:`; what it names is read by `parseHubAddress`.
 */
export function isHubAddress(text: string, endpoint?: string): boolean {
  if (HUB_ADDRESS.test(text)) return true;
  return endpoint !== undefined && URL.canParse(endpoint) && URL.canParse(text) && new URL(text).host === new URL(endpoint).host;
}

/** Reads `org/name` or `org/name@revision`; null for text that is neither, such as a longer path. */
export function parseHubId(text: string): HubId | null {
  const [, owner, name, revision] = ID.exec(text) ?? [];
  if (owner === undefined || name === undefined || NOT_AN_OWNER.has(owner) || /--|\.\./.test(owner + "/" + name)) return null;
  return { name: `${owner}/${name}`, revision: revision ?? null };
}

/** The revision to take, `main` unless told; throws when id and option differ or when it could not be one. */
export function chooseRevision({ name, revision }: HubId, option: string | undefined): string {
  if (revision !== null && option !== undefined && revision !== option) {
    throw new CogwheelError(
      "hub",
      `${name}: a revision must be given once, ` +
        `got ${JSON.stringify(revision)} in the id and ${JSON.stringify(option)} as an option; leave one out`,
    );
  }
  const chosen = revision ?? option ?? "main";
  // It becomes a path in the cache.
  if (!/^[\w][\w.+-]*(\/[\w][\w.+-]*)*$/.test(chosen) || chosen.includes("..")) {
    throw new CogwheelError(
      "hub",
      `${name}: a revision must be a branch, a tag or a commit, got ${JSON.stringify(chosen)}; leave it out for main`,
    );
  }
  return chosen;
}

/** Throws on an option that there is not, and on a time that could be none. */
export function checkHubOptions(options: HubOptions): void {
  checkStallSeconds(options.stallSeconds, (rule) => new CogwheelError("hub", rule));
  const unknown = Object.keys(options).filter((key) => !KNOWN.has(key));
  if (unknown.length > 0)
    throw new CogwheelError("hub", `options must be ${[...KNOWN].join(", ")}, got ${unknown.join(", ")}; correct the name`);
}

/** The hub's address without a slash at its end; throws when it is no http(s) URL. */
export function checkEndpoint(endpoint: string): string {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
  if (!url || !/^https?:$/.test(url.protocol) || url.search || url.hash || url.username) {
    throw new CogwheelError(
      "hub",
      `the endpoint must be an http(s) URL without query, got ${JSON.stringify(endpoint)}; correct HF_ENDPOINT or the endpoint option`,
    );
  }
  return url.href.replace(/\/+$/, "");
}
