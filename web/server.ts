/** A folder's files on a loopback port, with byte ranges: `npm run web`, and the browser tests. */
import { createReadStream } from "node:fs";
import { open, realpath, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, sep } from "node:path";

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
  ".json": "application/json", ".svg": "image/svg+xml",
};

export interface StaticServer extends AsyncDisposable {
  /** `http://127.0.0.1:PORT/` */
  readonly url: string;
  /** What was asked for, in order: `206 dist/browser.js`. */
  readonly log: string[];
}

export interface ServeOptions {
  /** Default: any free one. */
  port?: number;
  /** Sent with every answer, such as those that isolate a page from other origins. */
  headers?: Record<string, string>;
}

/**
 * Serves the files below `root`, and `pages` (path → text) as if they were there. Nothing outside of `root` is served, by no path and no
 * link, and nobody is answered who came by another name than this machine's own (a page elsewhere whose name was made to point here).
 */
export async function serveFolder(root: string, pages: Record<string, string> = {}, { port = 0, headers: always = {} }: ServeOptions = {}): Promise<StaticServer> {
  const top = await realpath(root);
  const log: string[] = [];

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const end = (status: number, body = "", headers: Record<string, string> = {}) => {
      log.push(`${status} ${request.url}`);
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
    const info = await stat(file);
    if (!info.isFile()) return end(404);
    const headers = { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "accept-ranges": "bytes", etag: `"${info.size}-${info.mtimeMs}"`, "cache-control": "no-store" };
    const range = rangeOf(request.headers.range, info.size);
    if (range === "none") return end(416, "", { ...headers, "content-range": `bytes */${info.size}` });
    const { start, last } = range ?? { start: 0, last: info.size - 1 };
    const status = range ? 206 : 200;
    log.push(`${status} ${path}`);
    response.writeHead(status, { ...always, ...headers, "content-length": last - start + 1, ...(range ? { "content-range": `bytes ${start}-${last}/${info.size}` } : {}) });
    if (request.method === "HEAD" || last < start) return void response.end();
    const handle = await open(file);
    createReadStream(file, { fd: handle, start, end: last }).on("error", () => response.destroy()).pipe(response);
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      log.push(`500 ${request.url}: ${String(error)}`);
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end();
    });
  });
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

/** One range of bytes, both ends included; `undefined` where the whole file is to be sent, `"none"` where the range holds nothing. */
function rangeOf(header: string | undefined, size: number): { start: number; last: number } | "none" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return undefined;
  const [from, to] = [match[1]!, match[2]!];
  const start = from === "" ? Math.max(0, size - Number(to)) : Number(from);
  const last = from === "" || to === "" ? size - 1 : Math.min(Number(to), size - 1);
  if (from !== "" && to !== "" && Number(to) < Number(from)) return undefined;
  return start > last ? "none" : { start, last };
}
