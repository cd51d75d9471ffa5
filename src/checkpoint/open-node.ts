/** Opens what a user names as a checkpoint, in Node: a folder, a `file:` or `http(s):` URL, or a ready source. */
import { fileURLToPath } from "node:url";
import { folderSource } from "./source-node.ts";
import { httpSource } from "./source-http.ts";
import type { CheckpointSource } from "./source.ts";

export async function openSource(from: string | URL | CheckpointSource): Promise<CheckpointSource> {
  if (from instanceof URL || (typeof from === "string" && /^(https?|file):/.test(from))) {
    const url = new URL(from);
    return url.protocol === "file:" ? folderSource(fileURLToPath(url)) : httpSource(url.href);
  }
  return typeof from === "string" ? folderSource(from) : from;
}
