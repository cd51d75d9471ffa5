/** Opens what a user names as a checkpoint, in Node: a folder, a `file:` or `http(s):` URL, an id on the hub, or a ready source. */
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { OpenCheckpointOptions } from "./checkpoint.ts";
import { parseHubId } from "./hub-id.ts";
import type { HubOptions } from "./hub-id.ts";
import { folderSource } from "./source-node.ts";
import { httpSource } from "./source-http.ts";
import type { CheckpointSource } from "./source.ts";

/** What decides which files of a hub's repository are fetched, and how. */
export interface OpenSourceOptions extends OpenCheckpointOptions {
  hub?: HubOptions;
}

export async function openSource(from: string | URL | CheckpointSource, options: OpenSourceOptions = {}): Promise<CheckpointSource> {
  if (from instanceof URL || (typeof from === "string" && /^(https?|file):/.test(from))) {
    const url = new URL(from);
    return url.protocol === "file:" ? folderSource(fileURLToPath(url)) : httpSource(url.href);
  }
  if (typeof from !== "string") return from;
  const id = parseHubId(from);
  // What is here wins over what is there.
  if (!id || (await stat(from).catch(() => null))) return folderSource(from);
  const { hubSource } = await import("./hub.ts");
  return hubSource(id, options);
}
