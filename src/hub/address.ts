/** Reads what a user copies from a browser: the address of a repository's page on the hub, or of a page or file in it. */
import { CogwheelError } from "../base/errors.ts";
import { isHubHost, NOT_AN_OWNER, parseHubId, type HubId } from "./id.ts";

/** Pages whose address goes on with a revision. */
const OF_A_REVISION: ReadonlySet<string> = new Set(["tree", "blob", "resolve", "raw", "blame", "commit", "commits", "revision", "edit"]);
const COMPONENT = /^(text_encoder|tokenizer|transformer|vae|scheduler)$/;

/** A folder of a repository; "" is the repository itself. */
export interface HubFolder extends HubId {
  readonly folder: string;
}

/**
 * The repository whose page or file is at an address: of the hub, or of the mirror that `endpoint` names. `hf://org/name@revision/path`
 * too. Null for every other address, also of a mirror's host, which may hold plain folders besides; so is a folder within a repository
 * at `/resolve/`, which can be read as any server's.
 *
 * @throws for pages of the hub that no checkpoint can be opened from
 */
export function parseHubAddress(text: string, endpoint?: string): HubId | null {
  const page = readAddress(text, endpoint);
  if (page === null) return null;
  const { name, revision, kind, inside } = page;
  const [first = ""] = inside;
  const within = inside.length > 1 || (first !== "" && !LIKE_A_FILE.test(first));
  if (within && !COMPONENT.test(first) && !/^commits?$/.test(kind)) {
    if (kind === "resolve") return null;
    throw new CogwheelError(
      "hub",
      `${text}: a checkpoint must lie at the top of its repository, got the folder ${inside.join("/")}; ` +
        `if it holds a model_index.json, pass its address with /resolve/ in the place of /${kind}/`,
    );
  }
  return { name, revision };
}

/**
 * The folder that is, or that holds the file, at an address of the hub's. Null for addresses of others.
 *
 * @throws for pages of the hub that are none of a model's
 */
export function parseHubFolder(text: string, endpoint?: string): HubFolder | null {
  const page = readAddress(text, endpoint);
  if (page === null) return null;
  const { name, revision, kind, inside } = page;
  const isFolder = text.replace(/[?#].*$/s, "").endsWith("/") || (kind === "tree" && !/^hf:/i.test(text));
  return { name, revision, folder: (isFolder || !LIKE_A_FILE.test(inside.at(-1) ?? "") ? inside : inside.slice(0, -1)).join("/") };
}

const LIKE_A_FILE = /\.\w+$|^[A-Z]+$/;

/** What an address says: of which repository, by what kind of page, and the path inside. */
interface Page extends HubId {
  readonly kind: string;
  readonly inside: readonly string[];
}

function readAddress(text: string, endpoint: string | undefined): Page | null {
  const found = partsOf(text, endpoint);
  if (found === null) return null;
  const { parts, isMirror } = found;
  const refuse = (rule: string): null => {
    // Whoever serves a mirror may serve other things beside it.
    if (isMirror) return null;
    throw new CogwheelError("hub", `${text}: ${rule}; pass a model's page, or its id such as org/name`);
  };
  const [first = ""] = parts;
  if (first !== "models" && NOT_AN_OWNER.has(first)) return refuse(`a checkpoint must be a repository of models, got a page of ${first}`);
  const [owner = "", name = "", kind = "", ...rest] = parts;
  const id = parseHubId(`${owner}/${name}`);
  if (id === null) return refuse(`a model's page must be at org/name, got ${JSON.stringify(parts.slice(0, 2).join("/"))}`);
  if (!OF_A_REVISION.has(kind) || rest.length === 0) return { ...id, kind, inside: [] };
  // `refs/pr/1` is one revision; pages write its slashes as %2F.
  const long = rest[0] === "refs" && rest.length > 2 ? 3 : 1;
  return { name: id.name, revision: rest.slice(0, long).join("/") || null, kind, inside: rest.slice(long) };
}

/** What follows the host in an address of the hub's, and what only says that it is of models; null for another's. */
function partsOf(text: string, endpoint: string | undefined): { parts: string[]; isMirror: boolean } | null {
  const scheme = /^hf:\/\/(.*)$/is.exec(text);
  if (scheme) {
    // hf://[models/]org/name[@revision][/path]; a revision's slashes may be written as they are in refs/pr/1.
    const whole = scheme[1]!.replace(/\/+$/, "").replace(/^models\//, "");
    const [, id, revision, path = ""] = /^((?:[a-z]+s\/)?[^/@]+\/[^/@]+)(?:@(refs\/\w+\/[^/]+|[^/]+))?(?:\/(.*))?$/.exec(whole) ?? [];
    const rest = revision === undefined ? (path ? ["tree", "main"] : []) : ["tree", decoded(revision)];
    return {
      parts: id === undefined ? whole.split("/") : [...id.split("/"), ...rest, ...path.split("/").filter(Boolean)],
      isMirror: false,
    };
  }
  const full = /^https?:/i.test(text) ? text : isHubHost(text.split("/")[0]!) ? `https://${text}` : null;
  if (full === null || !URL.canParse(full)) return null;
  const url = new URL(full);
  const mirror = endpoint !== undefined && URL.canParse(endpoint) ? new URL(endpoint) : null;
  const base = mirror?.host === url.host ? mirror.pathname.replace(/\/*$/, "/") : "/";
  const isHub = isHubHost(url.hostname);
  if (!(isHub || mirror?.host === url.host) || !url.pathname.startsWith(base)) return null;
  const parts = url.pathname.slice(base.length).split("/").filter(Boolean).map(decoded);
  if (parts[0] === "api") parts.splice(0, parts[1] === "models" ? 2 : 1);
  return { parts, isMirror: !isHub };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
