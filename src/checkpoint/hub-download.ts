import { open, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { CogwheelError } from "../errors.ts";
import { beginDigest, digestFile, READ_WRITE_CREATE } from "./hub-digest.ts";
import type { Digest, RunningDigest } from "./hub-digest.ts";
import { HubUnreachable, pause, reason } from "./hub-fetch.ts";

/** Tries in a row that bring nothing. */
const BARREN_TRIES = 5;

/** What {@link download} is to fetch. */
export interface Download {
  /** What messages call it. */
  label: string;
  /** Where it lies now; asked anew at each try, because such addresses run out. */
  locate: () => Promise<string>;
  fetch: typeof globalThis.fetch;
  /** The unfinished file: made, or gone on with. */
  part: string;
  /** Bytes of the whole. */
  size: number;
  /** Null where nothing but the size is known. */
  digest: Digest | null;
  signal?: AbortSignal;
  /** How many bytes came in, negative when they were thrown away; those that were there are told first. */
  onBytes?: (bytes: number) => void;
}

/**
 * Downloads into `part`, from where an earlier download ended. A connection that breaks is taken up again. When it returns
 * the file is whole, has its hash and is on the disk; when what was left of an earlier download turns out to be
 * something else, all is downloaded again; when all was and the hash is still another, it is an error and the file is gone.
 */
export async function download(job: Download): Promise<void> {
  const handle = await open(job.part, READ_WRITE_CREATE);
  try {
    let have = (await handle.stat()).size;
    if (have > job.size) {
      await handle.truncate(0);
      have = 0;
    }
    for (let resumed = have > 0; ; resumed = false) {
      const got = await fill(handle, have, job);
      if (job.digest === null || got === job.digest.value) break;
      await handle.truncate(0);
      job.onBytes?.(-job.size);
      have = 0;
      if (resumed) continue;
      await handle.close();
      await unlink(job.part).catch(() => undefined);
      throw new CogwheelError("hub", `${job.label}: the file must have the ${job.digest.algorithm === "sha256" ? "SHA-256" : "git hash"} ${job.digest.value}, got ${got}; it was changed on its way, by a proxy or a broken mirror: try another network or endpoint`);
    }
    await handle.sync();
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === "ENOSPC"
      ? new CogwheelError("hub", `${job.label}: the cache's disk must have room for ${job.size} bytes, got a full disk; make room and run again, the download goes on from where it is`, { cause: error })
      : error;
  } finally {
    await handle.close().catch(() => undefined);
  }
}

/** Brings the file from `have` bytes to its size. Returns its hash, or an empty text where none is asked for. */
async function fill(handle: FileHandle, have: number, job: Download): Promise<string> {
  const state: Filling = { have: 0, digest: null };
  const begin = (): void => {
    state.have = 0;
    state.digest = job.digest && beginDigest(job.digest.algorithm, job.size);
  };
  begin();
  if (state.digest) await digestFile(handle, have, state.digest, job.signal ? { signal: job.signal } : {});
  state.have = have;
  job.onBytes?.(have);
  for (let barren = 0; state.have < job.size; ) {
    const before = state.have;
    try {
      await receive(handle, state, begin, job);
      if (state.have < job.size) throw new Error(`the end after ${state.have} of ${job.size} bytes`);
    } catch (error) {
      job.signal?.throwIfAborted();
      // Refusals are final; the network, and the disk's errors, are told apart by their class and code.
      if ((error instanceof CogwheelError && !(error instanceof HubUnreachable)) || (error as NodeJS.ErrnoException).syscall === "write") throw error;
      barren = state.have > before ? 0 : barren + 1;
      if (barren === BARREN_TRIES) {
        throw new HubUnreachable("hub", `${job.label}: the download must go on, got ${reason(error)}; check the network and run again, it goes on from byte ${state.have} of ${job.size}`, { cause: error });
      }
      await pause(100 * 2 ** barren, job.signal);
    }
  }
  return state.digest?.end() ?? "";
}

interface Filling {
  have: number;
  digest: RunningDigest | null;
}

/** One request: the rest of the file, as far as it comes. */
async function receive(handle: FileHandle, state: Filling, begin: () => void, job: Download): Promise<void> {
  const response = await job.fetch(await job.locate(), {
    // A compressing server would count ranges in compressed bytes.
    headers: { "accept-encoding": "identity", ...(state.have > 0 ? { range: `bytes=${state.have}-` } : {}) },
  });
  const refuse = async (rule: string): Promise<never> => {
    await response.body?.cancel();
    throw new CogwheelError("hub", `${job.label}: ${rule}`);
  };
  if (response.status === 206) {
    const range = response.headers.get("content-range");
    if (range !== `bytes ${state.have}-${job.size - 1}/${job.size}`) await refuse(`the answer must hold bytes ${state.have} to ${job.size - 1} of ${job.size}, got ${range ?? "no Content-Range"}; the file changed on the hub, run again`);
  } else if (state.have > 0) {
    // The server does not do ranges: what it sends is the whole.
    await handle.truncate(0);
    job.onBytes?.(-state.have);
    begin();
  }
  const length = response.headers.get("content-length");
  if (length !== null && !response.headers.has("content-encoding") && Number(length) !== job.size - state.have) {
    await refuse(`the file must have ${job.size} bytes, got ${state.have + Number(length)}; the file changed on the hub, or a proxy answers in its place: run again`);
  }
  if (!response.body) return;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    if (state.have + value.length > job.size) {
      await reader.cancel();
      throw new CogwheelError("hub", `${job.label}: the file must have ${job.size} bytes, got more; the file changed on the hub, or a proxy answers in its place: run again`);
    }
    for (let written = 0; written < value.length; ) {
      written += (await handle.write(value, written, value.length - written, state.have + written)).bytesWritten;
    }
    state.digest?.update(value);
    state.have += value.length;
    job.onBytes?.(value.length);
  }
}
