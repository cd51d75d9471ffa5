/** A folder on a web server as a source: every read is a request for a range. */
import { CogwheelError } from "../base/errors.ts";
import { linkedAbort } from "../base/linked-abort.ts";
import { ask, checkHeaders, checkStallSeconds, NetworkFault, packingOf, type Answer } from "./http-guard.ts";
import { beginsAsPage, isPageType, PAGE } from "./http-page.ts";
import { PASSING, Patience, retryAfter } from "./http-retry.ts";
import { checkPath, checkpointError, checkRange, disposedSource, memoryFor, missingFile } from "./source.ts";
import type { CheckpointSource } from "./source.ts";
import type { Prefetch } from "./prefetch.ts";

/** A server that ignores `Range` is put up with for files up to this size: they are kept as a whole. */
const SMALL_FILE = 8 * 1024 * 1024;
/** Failures in a row that bring nothing; a server that is silent for the stall's time counts twice. */
const TRIES = 4;
/** A change within a minute may leave the second in which a file was last modified as it was. */
const SETTLED_MS = 60_000;

/** Options of {@link httpSource}. */
export interface HttpSourceOptions {
  /** Headers of every request, e.g. an authorization. They go to this server and to no other that it redirects to. None unless told. */
  headers?: Record<string, string>;
  /** Stops every request. */
  signal?: AbortSignal;
  /** Called instead of the global `fetch`, for an app that caches. */
  fetch?: typeof globalThis.fetch;
  /** Seconds in which a server may bring less than 1 KB a second, before it is asked again and then left. Default 30. */
  stallSeconds?: number;
}

/** What a hub, or the package's own model, says otherwise than other servers. */
export interface HttpVoice {
  /** What messages call the source. Default: its address. */
  label?: string;
  /** The error of a status that is none of a file's; undefined where there is nothing special to it. */
  refusal?: (path: string, answer: Answer) => CogwheelError | undefined;
  /** What the files are a version of, where the server has no version for each. */
  version?: string;
}

interface RemoteFile {
  size: number;
  /** The bytes of a small file that came whole. */
  whole?: Uint8Array<ArrayBuffer>;
  /** Says whether two answers are of one version of the file. */
  stamp: string | null;
  /** Says whether a copy that was made at another time is of it: the stamp, where it may be believed. */
  version: string | null;
}

/**
 * A checkpoint folder on a web server, read by HTTP ranges: `baseUrl` + path. The server must answer `Range` with
 * 206 and `Content-Range`; one that sends the whole file instead is refused for files above 8 MB, before their
 * bytes are read. A browser on another origin needs the server to expose `Content-Range`.
 * No more is received than was asked for. Connections that break or fall silent are taken up again, a few times.
 * Neighbours among what `prefetch` is told come in requests of 8 MiB, six at a time. HTTP has no listing, so `list()` throws.
 */
export function httpSource(baseUrl: string, options: HttpSourceOptions = {}, voice: HttpVoice = {}): CheckpointSource {
  let base: URL;
  try {
    base = new URL(baseUrl);
  } catch (cause) {
    throw new CogwheelError(
      "checkpoint",
      `an HTTP checkpoint must be an absolute URL, got ${JSON.stringify(baseUrl)}; write it with http:// or https://`,
      { cause },
    );
  }
  if (base.protocol !== "http:" && base.protocol !== "https:") {
    throw new CogwheelError(
      "checkpoint",
      `an HTTP checkpoint must be at http: or https:, got ${base.protocol}; open a folder for files on this machine`,
    );
  }
  checkStallSeconds(options.stallSeconds, (rule) => new CogwheelError("checkpoint", rule));
  checkHeaders(options.headers ?? {}, (rule) => new CogwheelError("checkpoint", rule));
  base.username = base.password = ""; // fetch refuses credentials in an URL; pass a header
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  const label = voice.label ?? base.origin + base.pathname;
  const self = { label };
  const known = new Map<string, Promise<RemoteFile | null>>();
  const closing = new AbortController();
  /** Once there is something to be fetched beforehand. */
  let ahead: Promise<Prefetch | undefined> | undefined;
  const closed = options.signal ? AbortSignal.any([options.signal, closing.signal]) : closing.signal;

  /** Asks for a range and gives the answer to `take`; what fails in passing is tried again. `take` throws what it fails with. */
  async function asking<T>(
    path: string,
    range: () => string,
    take: (answer: Answer, patience: Patience) => Promise<T>,
    given?: AbortSignal,
  ): Promise<T> {
    using either = linkedAbort(closed, given);
    const { signal } = either;
    const url = new URL(base);
    url.pathname += path.split("/").map(encodeURIComponent).join("/");
    for (const patience = new Patience(TRIES, signal, options.stallSeconds); ; ) {
      try {
        if (closing.signal.aborted) throw disposedSource(self);
        const answer = await ask(url, {
          fetch: options.fetch,
          signal,
          stallSeconds: options.stallSeconds,
          // A compressing server would count ranges in compressed bytes.
          headers: { range: range(), "accept-encoding": "identity" },
          own: options.headers ?? {},
        });
        try {
          if (PASSING.has(answer.status)) throw new Busy(path, answer);
          return await take(answer, patience);
        } catch (error) {
          answer.cancel();
          throw error;
        }
      } catch (error) {
        if (closing.signal.aborted) throw disposedSource(self);
        if (!(error instanceof NetworkFault)) throw error;
        if (
          await patience.again(error.kind, error instanceof Busy ? retryAfter(error.answer.headers) : 0).catch((stopped: unknown) => {
            throw closing.signal.aborted ? disposedSource(self) : stopped;
          })
        )
          continue;
        throw error instanceof Busy
          ? refused(path, error.answer)
          : checkpointError(
              self,
              path,
              `the server must answer, got ${error.got}; ` +
                `${error.kind === "final" ? "use another server" : "check the URL, the network and, in a browser, CORS"}`,
              error,
            );
      }
    }
  }

  /** Size and version of a file, found by asking for its first byte; null when the server has no such file. */
  function find(path: string): Promise<RemoteFile | null> {
    checkPath(self, path);
    let entry = known.get(path);
    if (!entry) {
      entry = asking(
        path,
        () => "bytes=0-0",
        (answer) => probe(path, answer),
      );
      entry.catch(() => known.delete(path));
      known.set(path, entry);
    }
    return entry;
  }

  async function probe(path: string, answer: Answer): Promise<RemoteFile | null> {
    const special = voice.refusal?.(path, answer);
    if (special) throw special;
    if (answer.status === 404 || answer.status === 410) {
      answer.cancel();
      return null;
    }
    const version = { stamp: stampOf(answer.headers), version: versionOf(answer.headers) };
    if (answer.status === 416) {
      // An empty file has no first byte.
      answer.cancel();
      const size = /^bytes \*\/(\d+)$/.exec(answer.headers.get("content-range") ?? "")?.[1];
      if (size === "0") return { size: 0, ...version };
    }
    if (answer.status !== 206 && answer.status !== 200) throw refused(path, answer);
    refuseOther(path, answer);
    if (answer.status === 200) return { ...(await takeWhole(path, answer)), ...version };
    const range = contentRange(path, answer);
    if (range.start !== 0 || range.end !== 1)
      throw checkpointError(
        self,
        path,
        `the answer must hold bytes 0 to 1, got ${range.start} to ${range.end}; the server or a proxy does not honour ranges, use another`,
      );
    // The byte is read: a cancelled answer costs the connection.
    await answer.bytes(1).catch((error: unknown) => {
      if (!(error instanceof NetworkFault)) throw error;
    });
    return { size: range.size, ...version };
  }

  /** The server ignored `Range`: keeps a small file, refuses a large one before reading it. */
  async function takeWhole(path: string, answer: Answer): Promise<{ size: number; whole: Uint8Array<ArrayBuffer> }> {
    // What is packed says how long it is as it is sent.
    const declared = answer.headers.has("content-encoding") ? NaN : Number(answer.headers.get("content-length") ?? NaN);
    const tooLarge = (): CogwheelError =>
      checkpointError(
        self,
        path,
        "the server must answer a Range request with 206, " +
          `got 200 and the whole file of ${Number.isNaN(declared) ? `more than ${SMALL_FILE}` : declared} bytes; ` +
          "serve the checkpoint from a server that supports ranges, or download it and open the folder",
      );
    if (declared > SMALL_FILE) throw tooLarge();
    const whole = await answer.bytes(SMALL_FILE).catch((error: unknown) => {
      throw error instanceof NetworkFault && error.kind === "final" ? tooLarge() : error;
    });
    if (beginsAsPage(whole)) throw page(path);
    return { size: whole.length, whole };
  }

  /** Refuses a page that is sent for a file, and bytes that are counted in another way than they are asked for. */
  function refuseOther(path: string, answer: Answer): void {
    if (isPageType(answer.headers.get("content-type")) && !/\.html?$/i.test(path)) throw page(path);
    const encoding = packingOf(answer.headers);
    if (answer.status === 206 && encoding !== null) {
      throw checkpointError(
        self,
        path,
        `a range must be sent as it is, got content-encoding ${encoding}; switch the server's compression off for these files`,
      );
    }
  }

  const page = (path: string): CogwheelError => checkpointError(self, path, `the server must send the file, got ${PAGE}`);

  function contentRange(path: string, answer: Answer): { start: number; end: number; size: number } {
    const text = answer.headers.get("content-range");
    const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(text ?? "");
    const [start, last, size] = match ? match.slice(1).map(Number) : [];
    if (start === undefined || last === undefined || size === undefined || !Number.isSafeInteger(size) || last < start || last >= size) {
      throw checkpointError(
        self,
        path,
        `a 206 answer must carry Content-Range: bytes first-last/size, got ${text ?? "none"}; ` +
          "the server must send it and, to a browser on another origin, expose it by Access-Control-Expose-Headers",
      );
    }
    return { start, end: last + 1, size };
  }

  function refused(path: string, answer: Answer): CogwheelError {
    const remedy =
      answer.status === 401 || answer.status === 403 ? "pass the authorization in headers" : "check the URL or try again later";
    return checkpointError(self, path, `the server must answer 206, got ${answer.status} ${answer.statusText}`.trimEnd() + `; ${remedy}`);
  }

  async function file(path: string): Promise<RemoteFile> {
    const found = await find(path);
    if (closing.signal.aborted) throw disposedSource(self);
    if (!found) throw missingFile(self, path);
    return found;
  }

  async function readRange(
    path: string,
    start: number,
    end: number,
    remote: RemoteFile,
    into?: Uint8Array<ArrayBuffer>,
    signal?: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      bytes = memoryFor(end - start, into);
    } catch (cause) {
      throw checkpointError(
        self,
        path,
        `a read must fit the memory, got bytes ${start} to ${end}; check that this is the file it is named after`,
        cause,
      );
    }
    /** Where the next byte goes in the file: an answer that breaks is gone on with. */
    let at = start;
    return asking(
      path,
      () => `bytes=${at}-${end - 1}`,
      async (answer, patience) => {
        const special = voice.refusal?.(path, answer);
        if (special) throw special;
        if (answer.status === 200)
          throw checkpointError(
            self,
            path,
            "the server must answer every Range request with 206, got 200 after a 206; try again or use another server",
          );
        if (answer.status !== 206) throw refused(path, answer);
        refuseOther(path, answer);
        const got = contentRange(path, answer);
        const stamp = stampOf(answer.headers);
        if (got.start !== at || got.end !== end || got.size !== remote.size || stamp !== remote.stamp) {
          const changed = got.size !== remote.size || stamp !== remote.stamp;
          throw checkpointError(
            self,
            path,
            `the answer must hold bytes ${at} to ${end} of ${remote.size}, got ${got.start} to ${got.end} ` +
              `of ${got.size}${stamp !== remote.stamp ? ` of version ${stamp} instead of ${remote.stamp}` : ""}; ` +
              (changed
                ? "the file changed on the server, open the checkpoint again"
                : "the server or a proxy does not honour ranges, use another"),
          );
        }
        const before = at;
        try {
          for await (const chunk of answer.body(end - at)) {
            bytes.set(chunk, at - start);
            at += chunk.length;
          }
        } catch (error) {
          if (!(error instanceof NetworkFault)) throw error;
          if (error.kind === "final")
            throw checkpointError(
              self,
              path,
              `the answer must hold ${end - start} bytes, got more; the server or a proxy does not honour ranges, use another`,
              error,
            );
          if (at === end) return bytes; // only the answer's end did not come
          patience.brought(at - before);
          throw new NetworkFault(`${error.got} within bytes ${start} to ${end}`, error.kind, { cause: error });
        }
        patience.brought(at - before);
        if (at < end) throw new NetworkFault(`${at - start} of ${end - start} bytes from ${start} on`, "passing");
        return bytes;
      },
      signal,
    );
  }

  return {
    label,
    async list() {
      throw new CogwheelError(
        "checkpoint",
        `a listing must come from a folder or from files, got the HTTP source ${label}; ask for files by their path`,
      );
    },
    async exists(path) {
      return (await find(path)) !== null;
    },
    async size(path) {
      return (await file(path)).size;
    },
    async version(path) {
      return (await file(path)).version ?? voice.version ?? null;
    },
    prefetch(ranges, signal) {
      ahead ??= import("./prefetch.ts").then(
        ({ Prefetch }) =>
          new Prefetch((signal) => async (path, start, end, into) => readRange(path, start, end, await file(path), into, signal)),
        () => undefined, // without the chunk each range is a request
      );
      void ahead.then((it) => it?.tell(ranges, signal));
    },
    async read(path, start, end, into, signal) {
      const remote = await file(path);
      checkRange(self, path, start, end, remote.size);
      if (remote.whole) return remote.whole.slice(start, end);
      if (start === end) return new Uint8Array(0);
      return (await (await ahead)?.read(path, start, end, into)) ?? readRange(path, start, end, remote, into, signal);
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      known.clear();
    },
  };
}

/** A server that says to come back. */
class Busy extends NetworkFault {
  constructor(
    path: string,
    readonly answer: Answer,
  ) {
    super(`${answer.status} for ${path}`, "passing");
  }
}

const stampOf = (headers: Headers): string | null => headers.get("etag") ?? headers.get("last-modified");

/** The ETag, or when the file was last modified, by a clock that has gone on since. */
function versionOf(headers: Headers): string | null {
  const modified = headers.get("last-modified");
  const now = Date.parse(headers.get("date") ?? "") || Date.now();
  return headers.get("etag") ?? (modified !== null && now - Date.parse(modified) >= SETTLED_MS ? modified : null);
}
