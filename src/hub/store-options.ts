/** What storing a checkpoint in a browser takes, and what is told of one that is stored. */
import type { OpenCheckpointOptions } from "../checkpoint/checkpoint.ts";

/** A checkpoint in the browser's storage. */
export interface StoredCheckpoint {
  readonly name: string;
  readonly bytes: number;
  /** False for what is left of a store that was stopped: it cannot be opened, only gone on with or removed. */
  readonly whole: boolean;
}

/** What `storeCheckpoint` copies, and how it tells of it. */
export interface StoreOptions extends OpenCheckpointOptions {
  signal?: AbortSignal;
  /** Bytes that are in place, of how many, and the file that is being written. */
  onProgress?: (done: number, total: number, file: string) => void;
}
