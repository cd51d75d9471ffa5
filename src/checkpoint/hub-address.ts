/** Reads what a user copies from a browser: the address of a repository's page on the hub, or of a page or file in it. */
import { CogwheelError } from "../errors.ts";
import { parseHubId, type HubId } from "./hub-id.ts";

const HOSTS: ReadonlySet<string> = new Set(["huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co"]);
/** Repositories that are none of models, and pages that are none of a repository. */
const OTHERS: ReadonlySet<string> = new Set(["datasets", "spaces", "buckets", "kernels", "collections", "papers", "docs", "blog"]);
/** Pages whose address goes on with a revision. */
const OF_A_REVISION: ReadonlySet<string> = new Set(["tree", "blob", "resolve", "raw", "blame", "commit", "commits", "revision", "edit"]);
const COMPONENT = /^(text_encoder|tokenizer|transformer|vae|scheduler)$/;

/**
 * The repository whose page or file is at an address: of the hub, or of the mirror that `endpoint` names. `hf://org/name@revision/path`
 * too. Null for every other address; so is a folder within a repository at `/resolve/`, which can be read as any server's.
 *
 * @throws for pages of the hub that no checkpoint can be opened from
 */
export function parseHubAddress(text: string, endpoint?: string): HubId | null {
  const parts = partsOf(text, endpoint);
  if (parts === null) return null;
  const wrong = (rule: string): CogwheelError => new CogwheelError("hub", `${text}: ${rule}`);
  if (parts[0] === "api") parts.shift();
  if (parts[0] === "models") parts.shift();
  if (OTHERS.has(parts[0] ?? "")) throw wrong(`a checkpoint must be a repository of models, got a page of ${parts[0]}; pass a model's page, or its id such as org/name`);
  const [owner = "", name = "", kind, ...rest] = parts;
  const id = parseHubId(`${owner}/${name}`);
  if (id === null) throw wrong(`a model's page must be at org/name, got ${JSON.stringify(parts.slice(0, 2).join("/"))}; pass a model's page, or its id such as org/name`);
  if (kind === undefined || !OF_A_REVISION.has(kind) || rest.length === 0) return id;
  // `refs/pr/1` is one revision; pages write its slashes as %2F.
  const long = rest[0] === "refs" && rest.length > 2 ? 3 : 1;
  const [revision, inside] = [rest.slice(0, long).join("/"), rest.slice(long)];
  const [first = ""] = inside;
  const within = inside.length > 1 || (first !== "" && !/\.\w+$|^[A-Z]+$/.test(first));
  if (within && !COMPONENT.test(first) && !/^commits?$/.test(kind)) {
    if (kind === "resolve") return null;
    throw wrong(`a checkpoint must lie at the top of its repository, got the folder ${inside.join("/")}; if it holds a model_index.json, pass its address with /resolve/ in the place of /${kind}/`);
  }
  return { name: id.name, revision: revision || null };
}

/** What follows the host in an address of the hub's; null for another's. */
function partsOf(text: string, endpoint: string | undefined): string[] | null {
  const scheme = /^hf:\/\/(.*)$/is.exec(text);
  if (scheme) {
    // hf://[models/]org/name[@revision][/path]; a revision's slashes may be written as they are in refs/pr/1.
    const [, id, revision, path = ""] = /^((?:[a-z]+s\/)?[^/@]+\/[^/@]+)(?:@(refs\/\w+\/[^/]+|[^/]+))?(?:\/(.*))?$/.exec(scheme[1]!.replace(/\/+$/, "")) ?? [];
    return id === undefined ? scheme[1]!.split("/") : [...id.split("/"), ...(revision === undefined ? (path ? ["tree", "main"] : []) : ["tree", decoded(revision)]), ...path.split("/").filter(Boolean)];
  }
  const full = /^https?:/i.test(text) ? text : HOSTS.has(text.split("/")[0]!.toLowerCase()) ? `https://${text}` : null;
  if (full === null || !URL.canParse(full)) return null;
  const url = new URL(full);
  const mirror = endpoint !== undefined && URL.canParse(endpoint) ? new URL(endpoint) : null;
  const base = mirror?.host === url.host ? mirror.pathname.replace(/\/*$/, "/") : "/";
  if (!(HOSTS.has(url.hostname) || mirror?.host === url.host) || !url.pathname.startsWith(base)) return null;
  return url.pathname.slice(base.length).split("/").filter(Boolean).map(decoded);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
