/**
 * Checkpoints kept in the browser's private file system for this origin, to be opened again without the network. What does it is a
 * chunk that the first call loads.
 */
import type { CheckpointSource } from "../sources/source.ts";
import type { StoredCheckpoint, StoreOptions } from "./store-options.ts";

export type { StoredCheckpoint, StoreOptions } from "./store-options.ts";

/**
 * Copies the files that opening `from` and using it will read into the browser's storage under `name`, and resolves to a source on them.
 * `from` stays open. A store is there whole or not at all: one that is stopped cannot be opened, and is gone on with by the next call; one
 * that was there stays until the new one is whole, unless there is room for one only.
 *
 * What is there already is not fetched again where its content is known to be the same: by the folder's `SHA256SUMS` (as `sha256sum`
 * writes it, and every file must have the sum that stands there), or else by what the source tells versions by (ETag, Last-Modified, a
 * commit). A source that tells nothing is copied anew. Another tab that stores the same name is waited for.
 */
export async function storeCheckpoint(from: CheckpointSource, name: string, options: StoreOptions = {}): Promise<CheckpointSource> {
  return (await import("./stored-copy.ts")).store(from, name, options);
}

/**
 * A checkpoint that was stored under `name`; null where there is none that is whole. Throws
 * where its files are not those it was stored with.
 */
export async function storedCheckpoint(name: string): Promise<CheckpointSource | null> {
  return (await import("./stored-copy.ts")).stored(name);
}

/** What is stored, by name. */
export async function storedCheckpoints(): Promise<StoredCheckpoint[]> {
  return (await import("./stored-copy.ts")).all();
}

/** Takes a stored checkpoint away, or what is left of one; nothing happens where there is none. Refused while another tab stores it. */
export async function removeStoredCheckpoint(name: string): Promise<void> {
  return (await import("./stored-copy.ts")).remove(name);
}
