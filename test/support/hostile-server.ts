/** What servers do to who asks them, for better and mostly for worse: put before a server that is honest. */
import { randomBytes } from "node:crypto";
import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";

/** Answers a request. `honest` answers as the server would have. */
export type Attack = (request: IncomingMessage, response: ServerResponse, honest: () => void) => void;

/** Writes pieces until nobody listens. */
function endless(response: ServerResponse, piece: () => Uint8Array | string): void {
  const more = (): void => void (!response.destroyed && response.write(piece(), () => setImmediate(more)));
  response.on("error", () => undefined);
  more();
}
/** Writes text slowly to the socket itself, head and all. */
function drip(response: ServerResponse, text: string, milliseconds: number): void {
  const { socket } = response;
  let at = 0;
  const timer = setInterval(() => {
    if (!socket || socket.destroyed) return clearInterval(timer);
    socket.write(text[at++] ?? "x");
  }, milliseconds);
}
const rangeOf = (request: IncomingMessage): [number, number] => {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
  return [Number(first ?? 0), last ? Number(last) : Number(first ?? 0) + 1000];
};
/** The head of the answer to a range, about a file of `size` bytes. */
const head = (request: IncomingMessage, size = 1 << 20, more: Record<string, string | number> = {}): Record<string, string | number> => {
  const [first, last] = rangeOf(request);
  return { "content-range": `bytes ${first}-${last}/${size}`, "accept-ranges": "bytes", ...more };
};
const MEGABYTE = new Uint8Array(1 << 20).fill(32);
const PAGE = "<!DOCTYPE html><html><head><title>Sign in to the network</title></head><body><form></form></body></html>";
let packed: Buffer | undefined;
/** 200 KB that become 200 MB. */
const bomb = (): Buffer => (packed ??= gzipSync(Buffer.alloc(200 << 20), { level: 9 }));

export const ATTACKS: Readonly<Record<string, Attack>> = {
  "never answers": () => undefined,
  "hangs up": (request) => void request.socket.destroy(),
  "drips its head": (_, response) => drip(response, "HTTP/1.1 206 Partial Content\r\nx-filler: ", 50),
  "stops in its body": (request, response) =>
    void response.writeHead(206, head(request, 1 << 20, { "content-length": 1001 })).write("12345"),
  "drips its body": (request, response) => {
    response.writeHead(206, head(request)).flushHeaders();
    const timer = setInterval(() => (response.destroyed ? clearInterval(timer) : void response.write("x")), 50);
  },
  "sends a range that never ends": (request, response) => endless(response.writeHead(206, head(request)), () => MEGABYTE),
  "sends a file that never ends": (_, response) =>
    endless(response.writeHead(200, { "content-type": "application/octet-stream" }), () => MEGABYTE),
  "sends JSON that never ends": (_, response) => {
    response.writeHead(200, { "content-type": "application/json" }).write('[{"type":"file","path":"x"}');
    endless(response, () => `,{"type":"file","path":"${"x".repeat(1 << 16)}"}`);
  },
  "sends JSON that goes deep": (_, response) =>
    void response.writeHead(200, { "content-type": "application/json" }).end("[".repeat(1 << 20)),
  "packs a bomb in a range": (request, response) =>
    void response.writeHead(206, head(request, 1 << 20, { "content-encoding": "gzip" })).end(bomb()),
  "packs a bomb in a file": (_, response) =>
    void response.writeHead(200, { "content-encoding": "gzip", "content-type": "application/json" }).end(bomb()),
  "packs garbage": (_, response) => void response.writeHead(200, { "content-encoding": "gzip" }).end(randomBytes(1000)),
  "tells another range": (request, response) =>
    void response.writeHead(206, { "content-range": `bytes ${rangeOf(request)[0] + 1}-${rangeOf(request)[1] + 1}/1000000` }).end("x"),
  "tells a huge size": (request, response) =>
    void response.writeHead(206, head(request, 2 ** 52)).end("x".repeat(rangeOf(request)[1] - rangeOf(request)[0] + 1)),
  "tells a range upside down": (_, response) => void response.writeHead(206, { "content-range": "bytes 9-2/10" }).end("x"),
  "tells no range": (_, response) => void response.writeHead(206).end("x"),
  "tells a wrong length": (request, response) =>
    void response.writeHead(206, head(request, 1 << 20, { "content-length": 5_000_000_000 })).write("x"),
  "redirects to itself": (request, response) => void response.writeHead(302, { location: request.url! }).end(),
  "redirects ever deeper": (request, response) =>
    void response
      .writeHead(307, { location: `/${"x/".repeat(((request.url!.match(/x\//g)?.length ?? 0) + 1) % 500)}${Math.random()}` })
      .end(),
  "redirects to a file of ours": (_, response) => void response.writeHead(302, { location: "file:///etc/passwd" }).end(),
  "redirects nowhere": (_, response) => void response.writeHead(302).end(),
  "redirects to no address": (_, response) => void response.writeHead(302, { location: "http://[" }).end(),
  "redirects to a port that is shut": (_, response) => void response.writeHead(302, { location: "http://127.0.0.1:1/" }).end(),
  "breaks in its body": (request, response) => {
    response.writeHead(206, head(request, 1 << 20, { "content-length": 1001 })).write("x");
    setTimeout(() => response.destroy(), 20);
  },
  "sends a page": (_, response) => void response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(PAGE),
  "sends a page as data": (_, response) => void response.writeHead(200, { "content-type": "application/octet-stream" }).end(PAGE),
  "sends garbage": (_, response) => void response.writeHead(200).end(randomBytes(5000)),
  "sends garbage for a range": (request, response) =>
    void response.writeHead(206, head(request, 5000)).end(randomBytes(rangeOf(request)[1] - rangeOf(request)[0] + 1)),
  "speaks no HTTP": (_, response) => void response.socket?.end(randomBytes(1000)),
  "sends broken chunks": (_, response) => void response.socket?.end("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nxx"),
  "sends a head that never ends": (_, response) => {
    response.socket!.write("HTTP/1.1 200 OK\r\n");
    const timer = setInterval(
      () => (response.socket!.destroyed ? clearInterval(timer) : void response.socket!.write(`x: ${"y".repeat(1000)}\r\n`)),
      5,
    );
  },
  "sends nothing": (_, response) => void response.writeHead(200).end(),
  "answers 204": (_, response) => void response.writeHead(204).end(),
  "answers 304": (_, response) => void response.writeHead(304).end(),
  "answers 401": (_, response) => void response.writeHead(401).end(PAGE),
  "answers 418": (_, response) => void response.writeHead(418, { "x-error-message": "y".repeat(5000) }).end(),
  "answers 503 for ever": (_, response) => void response.writeHead(503).end(),
  "answers 429 and asks for a year": (_, response) => void response.writeHead(429, { "retry-after": "31536000" }).end(),
  "says that all went": (_, response) => void response.writeHead(404, { "content-type": "text/html" }).end(PAGE),
  "sends JSON of another kind": (_, response) =>
    void response
      .writeHead(200, { "content-type": "application/json" })
      .end(
        ["null", "5", '"x"', "[null]", "[[]]", '{"sha":5}', '[{"type":"file","path":5}]', '[{"type":"file"}]'][
          Math.floor(Math.random() * 8)
        ],
      ),
  "tells a commit that is a path": (_, response) =>
    void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ sha: "../../../../etc" })),
  "has one page after the other": (request, response) => {
    const next = new URL(request.url!, `http://${request.headers.host}`);
    next.searchParams.set("cursor", String(Number(next.searchParams.get("cursor") ?? 0) + 1));
    response.writeHead(200, { "content-type": "application/json", link: `<${next.href}>; rel="next"` }).end("[]");
  },
  "has one page again and again": (request, response) =>
    void response
      .writeHead(200, { "content-type": "application/json", link: `<http://${request.headers.host}${request.url}>; rel="next"` })
      .end("[]"),
};

/** Puts `choose` before a server's own answers; tells how many bytes went out. */
export function attack(server: Server, choose: (request: IncomingMessage) => Attack | undefined): { readonly sent: number } {
  const own = server.listeners("request") as RequestListener[];
  server.removeAllListeners("request");
  const sockets = new Set<{ bytesWritten: number }>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
  });
  server.on("request", (request, response) => {
    const honest = (): void => own.forEach((listener) => void listener.call(server, request, response as never));
    const chosen = choose(request);
    if (chosen) chosen(request, response, honest);
    else honest();
  });
  return {
    get sent() {
      return [...sockets].reduce((sum, { bytesWritten }) => sum + bytesWritten, 0);
    },
  };
}
