/**
 * Servers that lie, drip, fall silent or never end, in a real browser: refused in words, in
 * time, without taking more than was asked for.
 */
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import type * as Cogwheel from "../../src/index.ts";
import { launchChromium } from "../support/chromium.ts";
import { attack, ATTACKS } from "../support/hostile-server.ts";

/** Those at which a browser's fetch is another one than Node's. */
const NAMES = [
  "never answers",
  "hangs up",
  "drips its head",
  "stops in its body",
  "drips its body",
  "sends a range that never ends",
  "sends a file that never ends",
  "packs a bomb in a range",
  "packs a bomb in a file",
  "tells no range",
  "tells a wrong length",
  "redirects to itself",
  "redirects to a file of ours",
  "breaks in its body",
  "sends a page",
  "speaks no HTTP",
  "sends broken chunks",
  "answers 304",
  "answers 503 for ever",
];

declare const cogwheel: typeof Cogwheel;

const ROOT = join(import.meta.dirname, "../..");
const servers: Server[] = [];
let browser: Browser;
let page: Page;

async function listen(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<{ url: string; server: Server }> {
  const server = createServer((request, response) => {
    for (const [name, value] of Object.entries({
      "access-control-allow-origin": "*",
      "access-control-expose-headers": "content-range, etag",
      "access-control-allow-headers": "range, x-api-key, authorization",
    }))
      response.setHeader(name, value);
    if (request.method === "OPTIONS") return void response.writeHead(204).end();
    answer(request, response);
  });
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
}

beforeAll(async () => {
  execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT });
  const { url } = await listen(
    (request, response) =>
      void (async () => {
        const path = request.url!.slice(1);
        if (path === "") return response.writeHead(200, { "content-type": "text/html" }).end("<title>x</title><link rel=icon href=data:,>");
        response.writeHead(200, { "content-type": "text/javascript" }).end(await readFile(join(ROOT, "dist", path)));
      })(),
  );
  browser = await launchChromium();
  page = await browser.newPage();
  await page.goto(url);
  await page.evaluate("(async () => { globalThis.cogwheel = await import('/browser.js'); })()");
}, 300_000);
afterAll(async () => {
  await browser?.close();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

it("whatever a server does, it is refused in words, in time", async () => {
  const attacked = await Promise.all(
    NAMES.map(async (name) => {
      const act = ATTACKS[name]!;
      const { url, server } = await listen(() => undefined);
      // What the first listener sets is set before the attack.
      const [first] = server.listeners("request") as ((request: IncomingMessage, response: ServerResponse) => void)[];
      const count = attack(server, (request) =>
        request.method === "OPTIONS"
          ? undefined
          : (request, response) => {
              first!(request, response);
              act(request, response, () => undefined);
            },
      );
      return { name, url, count };
    }),
  );
  // A few at a time: a page's requests wait for each other when many of them are not answered.
  const said = await page.evaluate(
    async (list) => {
      const said: { name: string; got: string; seconds: number }[] = [];
      await Promise.all(
        Array.from({ length: 4 }, async () => {
          for (let next = list.shift(); next; next = list.shift()) {
            const from = performance.now();
            const source = cogwheel.httpSource(next.url, { stallSeconds: 1.5 });
            const got = await source
              .size("m")
              .then((size) => source.read("m", 0, Math.min(size, 1000)))
              .then(
                ({ length }) => `${length} bytes`,
                (error: Error) => (error instanceof cogwheel.CogwheelError ? error.message : `foreign ${error.stack}`),
              );
            said.push({ name: next.name, got, seconds: (performance.now() - from) / 1000 });
          }
        }),
      );
      return said;
    },
    attacked.map(({ name, url }) => ({ name, url })),
  );
  expect(said.length).toBe(NAMES.length);
  for (const { name, got, seconds } of said) {
    expect(got, name).toMatch(/^(\[checkpoint\] m: .*got .*; .*|\d+ bytes)$/s);
    expect(seconds, name).toBeLessThan(30);
  }
  for (const { name, count } of attacked) expect(count.sent, name).toBeLessThan(60e6);
  expect(said.find(({ name }) => name === "never answers")!.got).toContain("got nothing for 1.5 s");
  expect(said.find(({ name }) => name === "sends a page")!.got).toContain("got a web page in its place");
}, 120_000);

it("sends an app's key to no server that it is redirected to", async () => {
  const seen: (string | undefined)[] = [];
  const other = await listen((request, response) => {
    seen.push((request.headers["x-api-key"] as string | undefined) ?? request.headers.authorization);
    response.writeHead(206, { "content-range": "bytes 0-0/7" }).end("x");
  });
  const own = await listen((_, response) => void response.writeHead(302, { location: `${other.url}m` }).end());
  const size = (headers: Record<string, string>): Promise<string> =>
    page.evaluate(
      ({ url, headers }) =>
        cogwheel
          .httpSource(url, { headers })
          .size("m")
          .then(String, (error: Error) => error.message),
      { url: own.url, headers },
    );
  expect(await size({ "x-api-key": "secret" })).toMatch(
    /^\[checkpoint\] m: the server must answer, got a redirect, which a browser would follow with the header x-api-key wherever it leads; /,
  );
  expect(seen).toEqual([]);
  expect(await size({})).toBe("7");
  expect(await size({ authorization: "Bearer secret" })).toBe("7");
  expect(seen).toEqual([undefined, undefined]);
});
