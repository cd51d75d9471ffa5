/** What decides which files of a hub's repository are fetched, and how. */
import type { OpenCheckpointOptions } from "../checkpoint/checkpoint.ts";
import type { HubOptions } from "./id.ts";

export interface OpenSourceOptions extends OpenCheckpointOptions {
  hub?: HubOptions;
  /**
   * Files will be read that are none of a checkpoint's: of a repository on the hub, where they lie, in the folder that its address
   * names.
   */
  anyFile?: boolean;
}
