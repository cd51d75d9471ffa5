import { CogwheelError } from "../errors.ts";
import { checkPath, checkpointError, checkRange, disposedSource, missingFile } from "./source.ts";
import type { CheckpointSource } from "./source.ts";

/** A server that ignores `Range` is put up with for files up to this size: they are kept as a whole. */
const SMALL_FILE = 8 * 1024 * 1024;

/** Options of {@link httpSource}. */
export interface HttpSourceOptions {
  /** Headers of every request, e.g. an authorization. None unless told. */
  headers?: Record<string, string>;
  /** Stops every request. */
  signal?: AbortSignal;
  /** Called instead of the global `fetch`, for an app that caches. */
  fetch?: typeof globalThis.fetch;
}

interface RemoteFile {
  size: number;
  /** The bytes of a small file that came whole. */
  whole?: Uint8Array<ArrayBuffer>;
  /** Says whether two answers are of one version of the file. */
  etag: string | null;
}

/**
 * A checkpoint folder on a web server, read by HTTP ranges: `baseUrl` + path. The server must answer `Range` with
 * 206 and `Content-Range`; one that sends the whole file instead is refused for files above 8 MB, before their
 * bytes are read. A browser on another origin needs the server to expose `Content-Range`.
 * HTTP has no listing, so `list()` throws.
 */
export function httpSource(baseUrl: string, options: HttpSourceOptions = {}): CheckpointSource {
  let base: URL;
  try {
    base = new URL(baseUrl);
  } catch (cause) {
    throw new CogwheelError("checkpoint", `an HTTP checkpoint must be an absolute URL, got ${JSON.stringify(baseUrl)}; write it with http:// or https://`, { cause });
  }
  if (base.protocol !== "http:" && base.protocol !== "https:") {
    throw new CogwheelError("checkpoint", `an HTTP checkpoint must be at http: or https:, got ${base.protocol}; open a folder for files on this machine`);
  }
  base.username = base.password = ""; // fetch refuses credentials in an URL; pass a header
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  const label = base.origin + base.pathname;
  const self = { label };
  const known = new Map<string, Promise<RemoteFile | null>>();
  const closing = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, closing.signal]) : closing.signal;

  async function request(path: string, range: string): Promise<Response> {
    if (closing.signal.aborted) throw disposedSource(self);
    const url = new URL(base);
    url.pathname += path.split("/").map(encodeURIComponent).join("/");
    try {
      return await (options.fetch ?? globalThis.fetch)(url, {
        // A compressing server would count ranges in compressed bytes.
        headers: { ...options.headers, range, "accept-encoding": "identity" },
        signal,
      });
    } catch (cause) {
      if (closing.signal.aborted) throw disposedSource(self);
      if (options.signal?.aborted) throw cause;
      throw checkpointError(self, path, `the server must answer, got ${String((cause as Error).cause ?? cause)}; check the URL, the network and, in a browser, CORS`, cause);
    }
  }

  /** Size and version of a file, found by asking for its first byte; null when the server has no such file. */
  function find(path: string): Promise<RemoteFile | null> {
    checkPath(self, path);
    let entry = known.get(path);
    if (!entry) {
      entry = probe(path);
      entry.catch(() => known.delete(path));
      known.set(path, entry);
    }
    return entry;
  }

  async function probe(path: string): Promise<RemoteFile | null> {
    const response = await request(path, "bytes=0-0");
    const etag = response.headers.get("etag");
    if (response.status === 404 || response.status === 410) {
      await response.body?.cancel();
      return null;
    }
    if (response.status === 206) {
      const range = contentRange(path, response);
      // The byte is read: a cancelled answer costs the connection, and browsers show it as a failed request.
      if (range.start === 0 && range.end === 1) await response.arrayBuffer().catch(() => undefined);
      else await response.body?.cancel();
      return { size: range.size, etag };
    }
    if (response.status === 416) {
      // An empty file has no first byte.
      await response.body?.cancel();
      const size = /^bytes \*\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1];
      if (size === "0") return { size: 0, etag };
    }
    if (response.status !== 200) throw await refused(path, response);
    return { ...(await takeWhole(path, response)), etag };
  }

  /** The server ignored `Range`: keeps a small file, refuses a large one before reading it. */
  async function takeWhole(path: string, response: Response): Promise<{ size: number; whole: Uint8Array<ArrayBuffer> }> {
    const declared = Number(response.headers.get("content-length") ?? NaN);
    const chunks: Uint8Array[] = [];
    let size = 0;
    let fits = !(declared > SMALL_FILE);
    if (fits && response.body) {
      for (const reader = response.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        chunks.push(value);
        size += value.length;
        if (size > SMALL_FILE) {
          fits = false;
          await reader.cancel();
          break;
        }
      }
    } else {
      await response.body?.cancel();
    }
    if (!fits) {
      throw checkpointError(
        self, path,
        `the server must answer a Range request with 206, got 200 and the whole file of ${Number.isNaN(declared) ? `more than ${SMALL_FILE}` : declared} bytes; serve the checkpoint from a server that supports ranges, or download it and open the folder`,
      );
    }
    const whole = new Uint8Array(size);
    let at = 0;
    for (const chunk of chunks) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    return { size, whole };
  }

  function contentRange(path: string, response: Response): { start: number; end: number; size: number } {
    const text = response.headers.get("content-range");
    const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(text ?? "");
    const [start, last, size] = match ? match.slice(1).map(Number) : [];
    if (start === undefined || last === undefined || size === undefined || !Number.isSafeInteger(size) || last < start || last >= size) {
      throw checkpointError(
        self, path,
        `a 206 answer must carry Content-Range: bytes first-last/size, got ${text ?? "none"}; the server must send it and, to a browser on another origin, expose it by Access-Control-Expose-Headers`,
      );
    }
    return { start, end: last + 1, size };
  }

  async function refused(path: string, response: Response): Promise<CogwheelError> {
    await response.body?.cancel();
    const remedy = response.status === 401 || response.status === 403
      ? "pass the authorization in headers"
      : "check the URL or try again later";
    return checkpointError(self, path, `the server must answer 206, got ${response.status} ${response.statusText}`.trimEnd() + `; ${remedy}`);
  }

  async function file(path: string): Promise<RemoteFile> {
    const found = await find(path);
    if (closing.signal.aborted) throw disposedSource(self);
    if (!found) throw missingFile(self, path);
    return found;
  }

  return {
    label,
    async list() {
      throw new CogwheelError("checkpoint", `a listing must come from a folder or from files, got the HTTP source ${label}; ask for files by their path`);
    },
    async exists(path) {
      return (await find(path)) !== null;
    },
    async size(path) {
      return (await file(path)).size;
    },
    async read(path, start, end) {
      const remote = await file(path);
      checkRange(self, path, start, end, remote.size);
      if (remote.whole) return remote.whole.slice(start, end);
      if (start === end) return new Uint8Array(0);
      const response = await request(path, `bytes=${start}-${end - 1}`);
      if (response.status === 200) {
        await response.body?.cancel();
        throw checkpointError(self, path, "the server must answer every Range request with 206, got 200 after a 206; try again or use another server");
      }
      if (response.status !== 206) throw await refused(path, response);
      const got = contentRange(path, response);
      const etag = response.headers.get("etag");
      if (got.start !== start || got.end !== end || got.size !== remote.size || etag !== remote.etag) {
        await response.body?.cancel();
        const changed = got.size !== remote.size || etag !== remote.etag;
        throw checkpointError(
          self, path,
          `the answer must hold bytes ${start} to ${end} of ${remote.size}, got ${got.start} to ${got.end} of ${got.size}${etag !== remote.etag ? ` of version ${etag} instead of ${remote.etag}` : ""}; ${changed ? "the file changed on the server, open the checkpoint again" : "the server or a proxy does not honour ranges, use another"}`,
        );
      }
      let bytes: Uint8Array<ArrayBuffer>;
      try {
        bytes = new Uint8Array(await response.arrayBuffer());
      } catch (cause) {
        if (closing.signal.aborted) throw disposedSource(self);
        if (options.signal?.aborted) throw cause;
        throw checkpointError(self, path, `the answer must arrive whole, got a broken connection within bytes ${start} to ${end}; try again`, cause);
      }
      if (bytes.length !== end - start) {
        throw checkpointError(self, path, `the answer must hold ${end - start} bytes, got ${bytes.length}; the connection broke or the server compresses, try again`);
      }
      return bytes;
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      known.clear();
    },
  };
}
