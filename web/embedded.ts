/**
 * The embedded checkpoint. It lies beside the page, and is small enough to be held: of each file of weights the head is fetched, which
 * plans are made from, and the rest when a video is asked for: as a whole, once, all of them together.
 */
import { CogwheelError } from "../src/base/errors.ts";
import { ask, NetworkFault } from "../src/sources/http-guard.ts";
import { PASSING, Patience } from "../src/sources/http-retry.ts";
import { checkRange, memoryFor, missingFile, type CheckpointSource } from "../src/sources/source.ts";

/** Put in by build.mjs: its files by their paths; of weights the bytes in which they say what is in them. */
declare const EMBEDDED_FILES: Readonly<Record<string, { readonly bytes: number; readonly digest: string; readonly head?: number }>>;

const HEAD_BYTES = 64 << 10;
const TRIES = 4;

/** @param base where it lies, with `/` at its end */
export function embeddedSource(base: string): CheckpointSource {
  const self = { label: base };
  const heads = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
  const whole = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
  const file = (path: string): (typeof EMBEDDED_FILES)[string] => {
    if (!Object.hasOwn(EMBEDDED_FILES, path)) throw missingFile(self, path);
    return EMBEDDED_FILES[path]!;
  };
  /** Once; anew where it failed. */
  function once(held: typeof whole, path: string, bytes: number): Promise<Uint8Array<ArrayBuffer>> {
    let found = held.get(path);
    if (!found) {
      found = fetched(base, path, bytes, bytes < file(path).bytes);
      found.catch(() => held.delete(path));
      held.set(path, found);
    }
    return found;
  }
  function wholeFile(path: string): Promise<Uint8Array<ArrayBuffer>> {
    for (const [other, { bytes }] of Object.entries(EMBEDDED_FILES)) if (bytes > HEAD_BYTES) void once(whole, other, bytes);
    return once(whole, path, file(path).bytes);
  }

  return {
    ...self,
    list: async () => Object.entries(EMBEDDED_FILES).map(([path, { bytes }]) => ({ path, size: bytes })),
    exists: async (path) => Object.hasOwn(EMBEDDED_FILES, path),
    size: async (path) => file(path).bytes,
    version: async (path) => file(path).digest,
    // It is in memory by the time that it is copied or measured.
    pieceBytes: 8 << 20,
    async read(path, start, end, into, signal) {
      const { bytes, head = HEAD_BYTES } = file(path);
      checkRange(self, path, start, end, bytes);
      const inHead = end <= head && !whole.has(path);
      const held = await (inHead ? once(heads, path, Math.min(bytes, head)) : wholeFile(path));
      signal?.throwIfAborted();
      const out = memoryFor(end - start, into);
      out.set(held.subarray(start, end));
      return out;
    },
    // What is held is for the next one that opens it.
    async [Symbol.asyncDispose]() {},
  };
}

/** The first bytes of a file. */
async function fetched(base: string, path: string, bytes: number, part: boolean): Promise<Uint8Array<ArrayBuffer>> {
  const fail = (got: string, cause?: unknown): CogwheelError =>
    new CogwheelError(
      "checkpoint",
      `${path}: the page's own server must send it, got ${got} (in ${base}); reload the page, or try again later`,
      {
        cause,
      },
    );
  for (const patience = new Patience(TRIES, undefined); ; ) {
    try {
      const answer = await ask(new URL(path, base), part ? { headers: { range: `bytes=0-${bytes - 1}` } } : {});
      try {
        if (PASSING.has(answer.status)) throw new NetworkFault(`status ${answer.status}`, "passing");
        if (answer.status !== 200 && !(part && answer.status === 206)) throw fail(`status ${answer.status}`);
        const got = await answer.bytes(answer.status === 206 ? bytes : EMBEDDED_FILES[path]!.bytes);
        if (got.length < bytes) throw new NetworkFault(`${got.length} of ${bytes} bytes`, "passing");
        return got;
      } catch (error) {
        answer.cancel();
        throw error;
      }
    } catch (error) {
      if (!(error instanceof NetworkFault)) throw error;
      if (!(await patience.again(error.kind))) throw fail(error.got, error);
    }
  }
}
