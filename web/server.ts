/** A folder's files on a loopback port, with byte ranges: `npm run web`, and the browser tests. */
import { constants } from "node:fs";
import { open, realpath, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { brotliCompress, constants as zlib } from "node:zlib";

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".map": "application/json",
  ".webmanifest": "application/manifest+json",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
};
/** What is half its size when it is compressed: text, and a tokenizer’s pieces. */
const TEXT = new Set([".html", ".js", ".mjs", ".css", ".json", ".webmanifest", ".svg", ".txt", ".model"]);
/** Lines that are kept, each of so many characters. */
const LOG_LINES = 1000;
const LOG_WIDTH = 300;

export interface StaticServer extends AsyncDisposable {
  /** `http://127.0.0.1:PORT/` */
  readonly url: string;
  /** What was asked for last, in order: `206 dist/browser.js`. */
  readonly log: string[];
}

export interface ServeOptions {
  /** Default: any free one. */
  port?: number;
  /** Text is sent compressed to who takes Brotli. Default false. */
  compress?: boolean;
  /** Sent with every answer, such as those that isolate a page from other origins. */
  headers?: Record<string, string>;
  /** Milliseconds in which a request must have come whole, and in which a client must take something of what is sent to it. */
  requestMs?: number;
  idleMs?: number;
}

/**
 * Serves the files below `root`, and `pages` (path → text) as if they were there. Nothing outside of `root` is served, by no path and no
 * link, and nobody is answered who came by another name than this machine's own (a page elsewhere whose name was made to point here).
 */
export async function serveFolder(
  root: string,
  pages: Record<string, string> = {},
  { port = 0, compress = false, headers = {}, requestMs = 10_000, idleMs = 120_000 }: ServeOptions = {},
): Promise<StaticServer> {
  const top = await realpath(root);
  const log: string[] = [];
  const squeezedFiles = new Map<string, Promise<Buffer>>();
  const note = (line: string): void => {
    log.push(line.slice(0, LOG_WIDTH));
    if (log.length > LOG_LINES) log.shift();
  };
  // Types are those that are said: a file of a checkpoint is never run as a script.
  const always = { "x-content-type-options": "nosniff", ...headers };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const end = (status: number, body = "", headers: Record<string, string> = {}) => {
      note(`${status} ${request.url}`);
      response.writeHead(status, { ...always, ...headers }).end(request.method === "HEAD" ? "" : body);
    };
    if (!/^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i.test(request.headers.host ?? "")) return end(403);
    if (request.method !== "GET" && request.method !== "HEAD") return end(405, "", { allow: "GET, HEAD" });
    let path: string;
    try {
      path = decodeURIComponent((request.url ?? "/").replace(/[?#].*$/s, "")).slice(1);
    } catch {
      return end(400);
    }
    if (Object.hasOwn(pages, path)) return end(200, pages[path]!, { "content-type": TYPES[extname(path)]! });
    if (path.includes("\0")) return end(400);
    // Links and `..` are followed first, and then the place that they lead to is judged.
    const file = await realpath(join(top, path === "" || path.endsWith("/") ? `${path}index.html` : path)).catch(() => undefined);
    if (!file?.startsWith(top + sep)) return end(404);
    // A pipe would hold whoever opens it.
    if (!(await stat(file).catch(() => undefined))?.isFile()) return end(404);
    const handle = await open(file, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0));
    try {
      const info = await handle.stat();
      const squeezed =
        compress && TEXT.has(extname(file)) && request.headers.range === undefined && takesBrotli(request.headers["accept-encoding"]);
      const etag = `"${info.size}-${info.mtimeMs}${squeezed ? "-br" : ""}"`;
      const headers = {
        "content-type": TYPES[extname(file)] ?? "application/octet-stream",
        "accept-ranges": "bytes",
        etag,
        "cache-control": "no-store",
        ...(compress ? { vary: "accept-encoding" } : {}),
        ...always,
      };
      // Who has this version already gets no more than that word.
      if (request.headers["if-none-match"] === etag) return end(304, "", headers);
      if (squeezed) {
        const key = `${file} ${etag}`;
        let found = squeezedFiles.get(key);
        if (!found) squeezedFiles.set(key, (found = brotli(await handle.readFile(), QUICK)));
        const bytes = await found;
        note(`200 ${path}`);
        response.writeHead(200, { ...headers, "content-encoding": "br", "content-length": bytes.length });
        return void response.end(request.method === "HEAD" ? "" : bytes);
      }
      // A range is a part of what GET gives, and of the version that is asked for.
      const wanted = request.method === "GET" && (request.headers["if-range"] ?? etag) === etag ? request.headers.range : undefined;
      const range = rangeOf(wanted, info.size);
      if (range === "none") return end(416, "", { ...headers, "content-range": `bytes */${info.size}` });
      const { start, last } = range ?? { start: 0, last: info.size - 1 };
      const status = range ? 206 : 200;
      note(`${status} ${path}`);
      response.writeHead(status, {
        ...headers,
        "content-length": last - start + 1,
        ...(range ? { "content-range": `bytes ${start}-${last}/${info.size}` } : {}),
      });
      if (request.method === "HEAD" || last < start) return void response.end();
      await pipeline(handle.createReadStream({ start, end: last, autoClose: false }), response);
    } finally {
      await handle.close();
    }
  }

  const server = createServer(
    { requestTimeout: requestMs, headersTimeout: requestMs, connectionsCheckingInterval: Math.min(1000, requestMs) },
    (request, response) => {
      answer(request, response).catch((error: unknown) => {
        // Who goes away in the middle of a file is no error.
        note(`${(error as NodeJS.ErrnoException).code === "ERR_STREAM_PREMATURE_CLOSE" ? "left" : "500"} ${request.url}: ${String(error)}`);
        if (response.headersSent) response.destroy();
        else response.writeHead(500, always).end();
      });
    },
  );
  server.timeout = idleMs;
  server.maxConnections = 128;
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    log,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const brotli = promisify(brotliCompress);
/** A few milliseconds a file, for nearly all that there is to gain. */
const QUICK = { params: { [zlib.BROTLI_PARAM_QUALITY]: 7 } };
const takesBrotli = (accepted: string | string[] | undefined): boolean =>
  /\bbr\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/.test(String(accepted ?? ""));

/** One range of bytes, both ends included; `undefined` where the whole file is to be sent, `"none"` where the range holds nothing. */
function rangeOf(header: string | undefined, size: number): { start: number; last: number } | "none" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/i.exec(header ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return undefined;
  const [from, to] = [match[1]!, match[2]!];
  const start = from === "" ? Math.max(0, size - Number(to)) : Number(from);
  const last = from === "" || to === "" ? size - 1 : Math.min(Number(to), size - 1);
  if (from !== "" && to !== "" && Number(to) < Number(from)) return undefined;
  return start > last ? "none" : { start, last };
}
