import { mkdtempSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { request } from "node:http";
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
function get(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<{ status: number; range: string | undefined; type: string | undefined; body: string }> {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    request({ hostname, port, path, headers, method }, (response) => {
      let body = "";
      response.setEncoding("latin1").on("data", (text: string) => (body += text)).on("end", () => resolve({ status: response.statusCode!, range: response.headers["content-range"], type: response.headers["content-type"], body }));
    }).on("error", reject).end();
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
  expect(await get("/inner/a.bin", { range: "bytes=0-1" }, "HEAD")).toMatchObject({ status: 206, body: "" });
  expect(await get("/empty")).toMatchObject({ status: 200, body: "" });
  expect(await get("/empty", { range: "bytes=0-0" })).toMatchObject({ status: 416, range: "bytes */0" });
});

it.each(["/../secret", "/inner/../../secret", "/%2e%2e/secret", "/..%2fsecret", "/..%2fsite-of-others%2fsecret", "/link", "/..\\secret", "//../secret", "/inner", "/", "/nothing"])("does not serve %s", async (path) => {
  expect(await get(path)).toMatchObject({ status: 404, body: "" });
});

it("refuses what it cannot read and what would write", async () => {
  expect((await get("/%zz")).status).toBe(400);
  expect((await get("/a%00b")).status).toBe(400);
  expect((await get("/page.html", {}, "PUT")).status).toBe(405);
});
