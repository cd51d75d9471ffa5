/** Opens what a user names as a checkpoint, in Node: a folder, a `file:` or `http(s):` URL, an id on the hub, or a ready source. */
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { CogwheelError } from "../errors.ts";
import type { OpenCheckpointOptions } from "./checkpoint.ts";
import { isHubAddress, parseHubId } from "./hub-id.ts";
import type { HubOptions } from "./hub-id.ts";
import { folderSource } from "./source-node.ts";
import { httpSource } from "./source-http.ts";
import type { CheckpointSource } from "./source.ts";

/** What decides which files of a hub's repository are fetched, and how. */
export interface OpenSourceOptions extends OpenCheckpointOptions {
  hub?: HubOptions;
  /** Files will be read that are none of a checkpoint's: of a repository on the hub, where they lie. */
  anyFile?: boolean;
}

export async function openSource(from: string | URL | CheckpointSource, options: OpenSourceOptions = {}): Promise<CheckpointSource> {
  if (typeof from !== "string" && !(from instanceof URL)) return from;
  const text = String(from);
  // A page's address is its repository, except where such a folder is here.
  const endpoint = options.hub?.endpoint ?? process.env["HF_ENDPOINT"];
  const page = isHubAddress(text, endpoint) ? (await import("./hub-address.ts")).parseHubAddress(text, endpoint) : null;
  if (page === null && /^(https?|file):/i.test(text)) {
    if (/^file:/i.test(text)) return folderSource(pathOf(text));
    return httpSource(text);
  }
  const id = page ?? parseHubId(text);
  // What is here wins over what is there.
  if (!id || (!/^\w+:\/\//.test(text) && (await stat(text).catch(() => null)))) return folderSource(text);
  const { hubSource } = await import("./hub.ts");
  return hubSource(id, options);
}

function pathOf(address: string): string {
  try {
    return fileURLToPath(address);
  } catch (cause) {
    throw new CogwheelError("checkpoint", `a file: address must name a folder on this machine, got ${JSON.stringify(address.slice(0, 200))}; pass the folder's path`, { cause });
  }
}
