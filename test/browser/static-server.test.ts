import { existsSync, mkdtempSync, mkdirSync, readdirSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { serveFolder, type StaticServer } from "../../web/server.ts";

const folder = mkdtempSync(join(tmpdir(), "cogwheel-server-"));
let server: StaticServer;

beforeAll(async () => {
  mkdirSync(join(folder, "site/inner"), { recursive: true });
  mkdirSync(join(folder, "site-of-others"));
  for (const path of ["secret", "site-of-others/secret", "site/inner/a.bin"]) writeFileSync(join(folder, path), "0123456789");
  writeFileSync(join(folder, "site/empty"), "");
  symlinkSync("../secret", join(folder, "site/link"));
  server = await serveFolder(join(folder, "site"), { "page.html": "<p>" });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** The path as it is: `fetch` would take the dots away. */
function get(
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
): Promise<{ status: number; range: string | undefined; type: string | undefined; body: string }> {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    request({ hostname, port, path, headers, method }, (response) => {
      let body = "";
      response
        .setEncoding("latin1")
        .on("data", (text: string) => (body += text))
        .on("end", () =>
          resolve({ status: response.statusCode!, range: response.headers["content-range"], type: response.headers["content-type"], body }),
        );
    })
      .on("error", reject)
      .end();
  });
}

it("serves files and pages, whole and in ranges", async () => {
  expect(await get("/inner/a.bin?x#y")).toMatchObject({ status: 200, body: "0123456789", type: "application/octet-stream" });
  expect(await get("/page.html")).toMatchObject({ status: 200, body: "<p>", type: "text/html; charset=utf-8" });
  expect(await get("/inner/a.bin", { range: "bytes=2-4" })).toMatchObject({ status: 206, range: "bytes 2-4/10", body: "234" });
  expect(await get("/inner/a.bin", { range: "bytes=8-99" })).toMatchObject({ status: 206, range: "bytes 8-9/10", body: "89" });
  expect(await get("/inner/a.bin", { range: "bytes=7-" })).toMatchObject({ status: 206, range: "bytes 7-9/10", body: "789" });
  expect(await get("/inner/a.bin", { range: "bytes=-3" })).toMatchObject({ status: 206, range: "bytes 7-9/10", body: "789" });
  expect(await get("/inner/a.bin", { range: "bytes=10-" })).toMatchObject({ status: 416, range: "bytes */10" });
  expect(await get("/inner/a.bin", { range: "bytes=4-2" })).toMatchObject({ status: 200 });
  expect(await get("/inner/a.bin", { range: "bytes=0-1" }, "HEAD"), "HEAD knows no ranges").toMatchObject({
    status: 200,
    range: undefined,
    body: "",
  });
  expect(await get("/inner/a.bin", { range: "bytes=0-1, 4-5" }), "several ranges are none").toMatchObject({
    status: 200,
    body: "0123456789",
  });
  expect(await get("/inner/a.bin", { range: "bytes=0-1", "if-range": '"another"' })).toMatchObject({ status: 200, body: "0123456789" });
  expect(await get("/inner/a.bin", { range: "bytes=99999999999999999999-" })).toMatchObject({ status: 416 });
  expect(await get("/inner/a.bin", { range: "bytes=-0" })).toMatchObject({ status: 416 });
  expect(await get("/empty")).toMatchObject({ status: 200, body: "" });
  expect(await get("/empty", { range: "bytes=0-0" })).toMatchObject({ status: 416, range: "bytes */0" });
});

it.each([
  "/../secret",
  "/inner/../../secret",
  "/%2e%2e/secret",
  "/..%2fsecret",
  "/..%2fsite-of-others%2fsecret",
  "/link",
  "/..\\secret",
  "//../secret",
  "/inner",
  "/",
  "/nothing",
])("does not serve %s", async (path) => {
  expect(await get(path)).toMatchObject({ status: 404, body: "" });
});

it("refuses what it cannot read and what would write", async () => {
  expect((await get("/%zz")).status).toBe(400);
  expect((await get("/a%00b")).status).toBe(400);
  expect((await get("/page.html", {}, "PUT")).status).toBe(405);
});

it("sends nothing of a file that who asks has already", async () => {
  const { headers } = await fetch(`${server.url}inner/a.bin`);
  const etag = headers.get("etag")!;
  const again = await fetch(`${server.url}inner/a.bin`, { headers: { "if-none-match": etag }, cache: "no-store" });
  expect([again.status, await again.text()]).toEqual([304, ""]);
  const other = await fetch(`${server.url}inner/a.bin`, { headers: { "if-none-match": '"another"' }, cache: "no-store" });
  expect(other.status).toBe(200);
});

it("sends text compressed to who takes it, where it is told to, and never a range", async () => {
  writeFileSync(join(folder, "site/long.js"), "let gear = 1;\n".repeat(500));
  await using small = await serveFolder(join(folder, "site"), {}, { compress: true });
  const ask = (headers: Record<string, string>) => fetch(`${small.url}long.js`, { headers, cache: "no-store" });
  const squeezed = await ask({ "accept-encoding": "gzip, br" });
  expect([squeezed.headers.get("content-encoding"), squeezed.headers.get("vary")]).toEqual(["br", "accept-encoding"]);
  expect(Number(squeezed.headers.get("content-length"))).toBeLessThan(500);
  expect((await squeezed.text()).length).toBe(7000);
  const etag = squeezed.headers.get("etag")!;
  expect((await ask({ "accept-encoding": "br", "if-none-match": etag })).status).toBe(304);
  const plainOnes: Record<string, string>[] = [
    { "accept-encoding": "gzip" },
    { "accept-encoding": "br;q=0" },
    { "accept-encoding": "br", range: "bytes=0-3" },
  ];
  for (const plain of plainOnes) {
    const answer = await ask(plain);
    expect([answer.headers.get("content-encoding"), answer.headers.get("etag") === etag], JSON.stringify(plain)).toEqual([null, false]);
    await answer.text();
  }
});

it("says of every answer that its type is the one that is told", async () => {
  for (const path of ["/inner/a.bin", "/page.html", "/nothing", "/%zz"])
    expect(await fetch(server.url.slice(0, -1) + path).then((response) => response.headers.get("x-content-type-options")), path).toBe(
      "nosniff",
    );
  expect((await get("/page.html", { host: "evil.example" })).status).toBe(403);
});

it("keeps the last lines of its log only", async () => {
  await using own = await serveFolder(folder, { "a.html": "" });
  await Promise.all(
    Array.from({ length: 6 }, async () => {
      for (let i = 0; i < 170; i++) await (await fetch(`${own.url}a.html?${"x".repeat(1000)}`)).arrayBuffer();
    }),
  );
  expect(own.log.length).toBe(1000);
  expect(Math.max(...own.log.map(({ length }) => length))).toBeLessThan(400);
});

/** This process's open handles of files below the folder. */
const handles = (): string[] =>
  !existsSync("/proc/self/fd")
    ? []
    : readdirSync("/proc/self/fd").flatMap((fd) => {
        try {
          const path = readlinkSync(`/proc/self/fd/${fd}`);
          return path.startsWith(folder) ? [path] : [];
        } catch {
          return [];
        }
      });

it.skipIf(process.platform !== "linux")(
  "closes the files of downloads that were given up, on Linux, where open handles can be listed",
  async () => {
    writeFileSync(join(folder, "site/large.bin"), new Uint8Array(32 << 20));
    const { hostname, port } = new URL(server.url);
    await Promise.all(
      Array.from(
        { length: 20 },
        (_, i) =>
          new Promise<void>((resolve) => {
            const asked = request({ hostname, port, path: "/large.bin" }, (response) => {
              if (i % 2) response.once("data", () => asked.destroy());
              else setTimeout(() => asked.destroy(), 50);
              response.on("error", () => undefined);
            });
            asked
              .on("error", () => undefined)
              .on("close", () => resolve())
              .end();
          }),
      ),
    );
    await expect.poll(handles, { timeout: 5000 }).toEqual([]);
    expect(server.log.at(-1)).toMatch(/^left \/large\.bin/);
  },
);

it("leaves who never ends a request, and who never takes an answer", async () => {
  writeFileSync(join(folder, "site/large.bin"), new Uint8Array(32 << 20));
  await using own = await serveFolder(join(folder, "site"), {}, { requestMs: 300, idleMs: 600 });
  const { hostname, port } = new URL(own.url);
  const ended = (prepare: (socket: Socket) => void): Promise<number> =>
    new Promise((resolve) => {
      const from = performance.now();
      const socket = connect(Number(port), hostname, () => prepare(socket))
        .on("error", () => undefined)
        .on("close", () => resolve(performance.now() - from));
    });
  const slow = ended((socket) => {
    socket.resume().write("GET / HTTP/1.1\r\nhost: localhost\r\nx: ");
    const timer = setInterval(() => (socket.destroyed ? clearInterval(timer) : socket.write("y")), 50);
  });
  const deaf = new Promise<void>((resolve) => {
    const socket = connect(Number(port), hostname, () => socket.pause().write("GET /large.bin HTTP/1.1\r\nhost: localhost\r\n\r\n")).on(
      "error",
      () => undefined,
    );
    const poll = setInterval(() => {
      if (own.log.some((line) => line.startsWith("left /large.bin"))) {
        clearInterval(poll);
        socket.destroy();
        resolve();
      }
    }, 50);
  });
  expect(await slow).toBeLessThan(5000);
  await deaf;
  await expect.poll(handles, { timeout: 5000 }).toEqual([]);
  expect((await fetch(`${own.url}inner/a.bin`)).status).toBe(200);
});
