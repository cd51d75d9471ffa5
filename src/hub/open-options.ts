/** What decides which files of a hub's repository are fetched, and how. */
import { CogwheelError } from "../base/errors.ts";
import type { OpenCheckpointOptions } from "../checkpoint/checkpoint.ts";
import type { CheckpointSource } from "../sources/source.ts";
import type { HubOptions } from "./id.ts";

export interface OpenSourceOptions extends OpenCheckpointOptions {
  hub?: HubOptions;
  /**
   * Files will be read that are none of a checkpoint's: of a repository on the hub, where they lie, in the folder that its address
   * names.
   */
  anyFile?: boolean;
}

/** What was given in place of a name; throws where it is no source, whatever its type says. */
export function givenSource(from: CheckpointSource): CheckpointSource {
  if (typeof (from as Partial<CheckpointSource> | null)?.read === "function") return from;
  throw new CogwheelError(
    "checkpoint",
    `must be named by text, a URL or a source, got ${String(from)}; leave it out for the embedded model`,
  );
}
