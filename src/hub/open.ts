/** What a user names as a checkpoint, opened: the same call in Node and in a browser. */
import { openSource as open } from "#files";
import type { HubOptions } from "./id.ts";
import type { CheckpointSource } from "../sources/source.ts";

/**
 * The files of a checkpoint: a folder (Node), a URL (in a browser relative ones count from the page), an id on the hub such as
 * `org/name` or `org/name@revision`. A source is given back as it is. Without a name: the embedded model's.
 */
export function openSource(
  from?: string | URL | CheckpointSource,
  options: { hub?: HubOptions; variant?: string } = {},
): Promise<CheckpointSource> {
  return open(from, options);
}
