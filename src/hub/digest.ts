/** The hashes that the hub tells of its files, computed. */
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { constants } from "node:fs";

/** The hash that a file on the hub is known by: SHA-256 for large files, git's own SHA-1 for those in the repository itself. */
export interface Digest {
  readonly algorithm: "sha256" | "git-sha1";
  /** Hexadecimal. */
  readonly value: string;
}

/** A hash that is fed piece by piece. */
export interface RunningDigest {
  update(bytes: Uint8Array): void;
  /** The hash in hexadecimal; ends it. */
  end(): string;
}

/** Begins the hash of a file of `size` bytes. Git hashes a header with the size first. */
export function beginDigest(algorithm: Digest["algorithm"], size: number): RunningDigest {
  const hash = createHash(algorithm === "sha256" ? "sha256" : "sha1");
  if (algorithm === "git-sha1") hash.update(`blob ${size}\0`);
  return { update: (bytes) => void hash.update(bytes), end: () => hash.digest("hex") };
}

const PIECE = 4 * 1024 * 1024;

/** Feeds bytes 0 to `end` of a file to a hash. Returns false when the file is shorter. */
export async function digestFile(
  handle: FileHandle,
  end: number,
  digest: RunningDigest,
  options: { signal?: AbortSignal; onBytes?: (bytes: number) => void } = {},
): Promise<boolean> {
  const piece = new Uint8Array(Math.min(PIECE, end));
  for (let at = 0; at < end; ) {
    options.signal?.throwIfAborted();
    const { bytesRead } = await handle.read(piece, 0, Math.min(piece.length, end - at), at);
    if (bytesRead === 0) return false;
    digest.update(piece.subarray(0, bytesRead));
    at += bytesRead;
    options.onBytes?.(bytesRead);
  }
  return true;
}

/** Opens for reading and writing, and makes the file when there is none; what it holds stays. */
export const READ_WRITE_CREATE = constants.O_RDWR | constants.O_CREAT;
