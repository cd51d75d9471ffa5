/**
 * The pages of the docs site in a browser: at the width of a phone none is wider than the screen, by day and by night; what is wide
 * (tables, code, drawings) scrolls in a box of its own. A page of all that is wide is looked at always, the site itself where
 * `npm run docs:site` has made it.
 */
import { cpSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { serveFolder, type StaticServer } from "../../web/server.ts";
import { launchChromium } from "../support/chromium.ts";

const ROOT = join(import.meta.dirname, "../..");
const SHOTS = join(ROOT, "dist/screenshots");
const SITE = join(ROOT, "build/site");
const { layout } = (await import(pathToFileURL(join(ROOT, "docs/site/layout.mjs")).href)) as {
  layout(page: { page: string; title: string; body: string; outline: { id: string; level: number; title: string }[] }): string;
};

const LONG = "a_name_that_no_line_of_a_phone_has_room_for_and_that_nothing_breaks_by_itself";
const CELLS = Array.from({ length: 9 }, (_, i) => `<td>${i % 3 ? `cell ${i}` : `<code>${LONG.slice(0, 30)}</code>`}</td>`).join("");
const BODY =
  `<h1>Wide <code>${LONG}</code></h1><p>A paragraph with ${LONG} and <code>${LONG}</code>.</p>` +
  `<div class="table"><table><tbody><tr>${CELLS}</tr></tbody></table></div><ul><li><a href="#x">${LONG}/${LONG}</a></li></ul>` +
  `<pre><code>${LONG} ${LONG}</code></pre><pre class="mermaid"><svg width="1500" height="20"></svg></pre>` +
  `<blockquote>${LONG}</blockquote><img alt="" width="1500" height="10" src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">`;

let [browser, folder, server]: [Browser?, string?, StaticServer?] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-docs-"));
  await mkdir(join(folder, "site"));
  for (const file of ["style.css", "page.js"]) cpSync(join(ROOT, "docs/site", file), join(folder, "site", file));
  await writeFile(join(folder, "index.html"), layout({ page: "index.html", title: LONG, body: BODY, outline: [] }));
  if (existsSync(join(SITE, "index.html"))) await cp(SITE, join(folder, "whole"), { recursive: true });
  server = await serveFolder(folder);
  browser = await launchChromium();
  await mkdir(SHOTS, { recursive: true });
});
afterAll(async () => {
  await browser?.close();
  await server?.[Symbol.asyncDispose]();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** How much wider than the screen a page is, and what sticks out of it. */
const excess = (page: Page): Promise<string[]> =>
  page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth <= clientWidth) return [];
    const out = [...document.querySelectorAll("body *")].filter(
      (one) => one.getBoundingClientRect().right > clientWidth + 1 && !one.closest(".table, pre"),
    );
    return [`${scrollWidth} > ${clientWidth}`, ...out.slice(0, 5).map((one) => `${one.localName}: ${one.textContent!.slice(0, 60)}`)];
  });

test.each(["light", "dark"] as const)("a page of all that is wide is as wide as a phone, %s", async (colorScheme) => {
  const page = await browser!.newPage({ viewport: { width: 390, height: 844 }, colorScheme });
  await page.goto(server!.url);
  expect(await excess(page)).toEqual([]);
  for (const box of [".table", "pre:not(.mermaid)", "pre.mermaid"])
    expect(await page.locator(box).evaluate(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth), `${box} scrolls`).toBe(true);
  await page.screenshot({ path: join(SHOTS, `docs-wide-${colorScheme}.png`), fullPage: true });
  await page.click("#menu");
  expect(await excess(page), "its menu").toEqual([]);
  await page.close();
});

test.skipIf(!existsSync(join(SITE, "index.html")))(
  "no page of the site that npm run docs:site made is wider than a phone",
  async () => {
    const page = await browser!.newPage({ viewport: { width: 390, height: 844 } });
    const pages = readdirSync(SITE, { recursive: true, encoding: "utf8" }).filter(
      (path) => path.endsWith(".html") && !path.startsWith("source"),
    );
    expect(pages.length).toBeGreaterThan(30);
    for (const path of pages) {
      await page.goto(`${server!.url}whole/${path}`);
      if (readFileSync(join(SITE, path), "utf8").includes('class="mermaid"')) await page.waitForSelector(".mermaid svg");
      expect(await excess(page), path).toEqual([]);
    }
    await page.close();
  },
  120_000,
);
