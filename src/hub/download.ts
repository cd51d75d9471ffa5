/** One file of the hub into the cache: taken up again where it broke off, and compared with its hash. */
import { open, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { CogwheelError } from "../base/errors.ts";
import { fileKind } from "../sources/file-kind.ts";
import { beginDigest, digestFile, READ_WRITE_CREATE } from "./digest.ts";
import type { Digest, RunningDigest } from "./digest.ts";
import { NetworkFault, packingOf, type Answer } from "../sources/http-guard.ts";
import { beginsAsPage, PAGE } from "../sources/http-page.ts";
import { BARREN_TRIES, Patience } from "../sources/http-retry.ts";
import { HubUnreachable } from "./fetch.ts";

/** What {@link download} is to fetch. */
export interface Download {
  /** What messages call it. */
  label: string;
  /** Where it lies now; asked anew at each try, because such addresses run out. */
  locate: () => Promise<string>;
  /** Asks there; throws on every answer but a good one, and does not try again. */
  ask: (address: string, headers: Readonly<Record<string, string>>) => Promise<Answer>;
  /** The unfinished file: made, or gone on with. */
  part: string;
  /** Bytes of the whole. */
  size: number;
  /** Null where nothing but the size is known. */
  digest: Digest | null;
  signal?: AbortSignal;
  stallSeconds?: number | undefined;
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
      throw new CogwheelError(
        "hub",
        `${job.label}: the file must have the ${job.digest.algorithm === "sha256" ? "SHA-256" : "git hash"} ${job.digest.value}, ` +
          `got ${got}; it was changed on its way, by a proxy or a broken mirror: try another network or endpoint`,
      );
    }
    await handle.sync();
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === "ENOSPC"
      ? new CogwheelError(
          "hub",
          `${job.label}: the cache's disk must have room for ${job.size} bytes, got a full disk; ` +
            "make room and run again, the download goes on from where it is",
          { cause: error },
        )
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
  for (const patience = new Patience(BARREN_TRIES, job.signal, job.stallSeconds); state.have < job.size; ) {
    const before = state.have;
    try {
      await receive(handle, state, begin, job);
      if (state.have < job.size) throw new NetworkFault(`the end after ${state.have} of ${job.size} bytes`, "passing");
    } catch (error) {
      job.signal?.throwIfAborted();
      // Refusals are final; the network, and the disk's errors, are told apart by their class.
      const fault = error instanceof HubUnreachable ? error.cause : error;
      if (!(fault instanceof NetworkFault) && !(error instanceof HubUnreachable)) throw error;
      patience.brought(state.have - before);
      const kind = fault instanceof NetworkFault && fault.kind === "stalled" ? "stalled" : "passing";
      if (!(await patience.again(kind, error instanceof HubUnreachable ? error.after : 0))) {
        const got = fault instanceof NetworkFault ? fault.got : (error as Error).message;
        throw new HubUnreachable(
          "hub",
          `${job.label}: the download must go on, got ${got}; ` +
            `check the network and run again, it goes on from byte ${state.have} of ${job.size}`,
          { cause: error },
        );
      }
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
  const answer = await job.ask(await job.locate(), state.have > 0 ? { range: `bytes=${state.have}-` } : {});
  try {
    const refuse = (rule: string): never => {
      throw new CogwheelError("hub", `${job.label}: ${rule}`);
    };
    const encoding = packingOf(answer.headers);
    if (encoding !== null)
      refuse(`the file must be sent as it is, got content-encoding ${encoding}; a proxy packs it: try another network or endpoint`);
    if (answer.status === 206) {
      const range = answer.headers.get("content-range");
      if (range !== `bytes ${state.have}-${job.size - 1}/${job.size}`)
        refuse(
          `the answer must hold bytes ${state.have} to ${job.size - 1} of ${job.size}, ` +
            `got ${range ?? "no Content-Range"}; the file changed on the hub, run again`,
        );
    } else if (state.have > 0) {
      // The server does not do ranges: what it sends is the whole.
      await handle.truncate(0);
      job.onBytes?.(-state.have);
      begin();
    }
    const length = answer.headers.get("content-length");
    if (length !== null && Number(length) !== job.size - state.have) {
      const instead = state.have === 0 ? await insteadOf(answer) : null;
      refuse(
        instead ??
          `the file must have ${job.size} bytes, got ${state.have + Number(length)}; ` +
            "the file changed on the hub, or a proxy answers in its place: run again",
      );
    }
    try {
      for await (const chunk of answer.body(job.size - state.have)) {
        for (let written = 0; written < chunk.length; ) {
          written += (await handle.write(chunk, written, chunk.length - written, state.have + written)).bytesWritten;
        }
        state.digest?.update(chunk);
        state.have += chunk.length;
        job.onBytes?.(chunk.length);
      }
    } catch (error) {
      if (error instanceof NetworkFault && error.kind === "final")
        refuse(`the file must have ${job.size} bytes, got more; the file changed on the hub, or a proxy answers in its place: run again`);
      throw error;
    }
  } finally {
    answer.cancel();
  }
}

/** What stands in a file's place, where its first bytes tell. */
async function insteadOf(answer: Answer): Promise<string | null> {
  const start: Uint8Array[] = [];
  try {
    for await (const chunk of answer.body(Infinity)) if (start.push(chunk) > 0) break;
  } catch {
    return null;
  }
  const [first = new Uint8Array(0)] = start;
  if (beginsAsPage(first)) return `the server must send the file, got ${PAGE}`;
  return fileKind(first)?.name === "a git-lfs pointer"
    ? "the server must send the file, got a git-lfs pointer; " +
        "whoever runs the mirror has to fetch its large files (git lfs pull), take another endpoint"
    : null;
}
