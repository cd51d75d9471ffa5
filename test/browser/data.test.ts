/** Data in a browser: a film is cut and measured in a page as in Node, without a disk. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Browser, Page } from "playwright-core";
import { encodeBytes } from "../../src/video/formats.ts";
import { serveFolder, type StaticServer } from "../../web/server.ts";
import { launchChromium, troublesOf } from "../support/chromium.ts";
import { inPage } from "../support/example.ts";
import { drawnFilm } from "../support/shots.ts";
import { lookAt, type LookedAt } from "./data-page.ts";

let folder: string;
let server: StaticServer;
let browser: Browser;
let page: Page;
let wrong: string[];
let film: Uint8Array<ArrayBuffer>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-data-page-"));
  await build({
    entryPoints: [join(import.meta.dirname, "data-page.ts")],
    outfile: join(folder, "page.mjs"),
    bundle: true,
    format: "esm",
    target: "es2022",
    platform: "browser",
    conditions: ["browser"],
    loader: { ".wasm": "binary" },
    logLevel: "error",
  });
  const { frames } = drawnFilm([
    { seed: 1, frames: 40, speed: 2 },
    { seed: 2, frames: 36, speed: 0 },
    { seed: 3, frames: 44, speed: 1 },
  ]);
  film = Uint8Array.from(await encodeBytes(frames, { format: "webm", fps: 24 }));
  await writeFile(join(folder, "film.webm"), film);
  server = await serveFolder(folder, {
    "index.html": '<!doctype html><html lang="en"><title>data</title><link rel="icon" href="data:,"></html>',
  });
  browser = await launchChromium();
  page = await browser.newPage();
  wrong = troublesOf(page);
  await page.goto(`${server.url}index.html`);
}, 120_000);
afterAll(async () => {
  await browser?.close();
  await server?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

it("a film's shots, clips and their measures are those of Node", async () => {
  const there = await inPage<LookedAt>(page, `return (await import("./page.mjs")).lookAtUrl(${JSON.stringify(`${server.url}film.webm`)});`);
  const here = await lookAt(film);
  expect(there.cuts).toEqual([40, 76]);
  expect(there.clips).toHaveLength(here.clips.length);
  expect(there.clips.length).toBeGreaterThan(2);
  for (const [i, clip] of there.clips.entries()) {
    const want = here.clips[i]!;
    expect([clip.from, clip.to]).toEqual([want.from, want.to]);
    // One decoder for both would give the same numbers; here are two of VP9, which is exact.
    expect(clip.motion).toBeCloseTo(want.motion, 6);
    expect(clip.brightness).toBeCloseTo(want.brightness, 6);
  }
  expect(there.moving).toBe(here.moving);
  expect(there.moving).toBeLessThan(there.clips.length);
  expect(wrong).toEqual([]);
});
