/** Opens what a user names as a checkpoint, in a browser: a URL (relative ones count from the page), or a ready source. */
import { httpSource } from "./source-http.ts";
import type { CheckpointSource } from "./source.ts";

export async function openSource(from: string | URL | CheckpointSource): Promise<CheckpointSource> {
  if (typeof from !== "string" && !(from instanceof URL)) return from;
  return httpSource(new URL(from, globalThis.location?.href).href);
}
