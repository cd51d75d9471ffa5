/** The page of `cogwheel data label` in a real browser, by keys alone, on clips that were dropped too; killed and gone on with. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { LABEL_NAMES } from "../../src/curation/label/labels.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { chatServer } from "../support/chat-server.ts";
import { launchChromium, troublesOf } from "../support/chromium.ts";
import { drawnFilm } from "../support/shots.ts";
import { type Ended, watched } from "../support/watched.ts";

const launcher = resolve("dist/launch.js");
const SHOTS = resolve("dist/screenshots");
let folder: string;
let browser: Browser;
const data = (...args: string[]): ChildProcessWithoutNullStreams => spawn(process.execPath, [launcher, "data", ...args], { cwd: folder });
const ended = (...args: string[]): Promise<Ended> => watched(data(...args));

beforeAll(async () => {
  const built = spawnSync(process.execPath, ["build.mjs", "--if-stale"], { encoding: "utf8" });
  expect(built.status, built.stderr).toBe(0);
  folder = await mkdtemp(join(tmpdir(), "cogwheel-label-page-"));
  await mkdir(join(folder, "raw"));
  await mkdir(SHOTS, { recursive: true });
  const { frames } = drawnFilm(
    [1, 2, 3, 4, 5].map((seed) => ({ seed, frames: 36 })),
    { width: 96, height: 64 },
  );
  await encodeVideo(frames, { path: join(folder, "raw/film <b>.mp4"), fps: 12 });
  await using server = await chatServer({
    models: { data: [{ id: "eyes" }] },
    answer: ({ index }) =>
      JSON.stringify({ ...Object.fromEntries(LABEL_NAMES.map((name) => [name, 2 * index])), watermark: 0, aesthetic: 3 + index }),
  });
  const args = ["raw", "--out", "set", "--frames", "17", "--where", "source.start < 11 && aesthetic > 3", "--label-url", server.url];
  const made = await ended("filter", ...args, "--json");
  expect(made.code, made.err).toBe(0);
  expect(JSON.parse(made.out)).toMatchObject({ kept: 3, dropped: { "source.start < 11": 1, "aesthetic > 3": 1 } });
  browser = await launchChromium();
}, 120_000);
afterAll(async () => {
  await browser?.close();
  await rm(folder, { recursive: true, force: true });
});

const children: ChildProcessWithoutNullStreams[] = [];
afterEach(() => children.splice(0).forEach((child) => void child.kill("SIGKILL")));

/** The command with its page's address. */
async function served(): Promise<{ child: ChildProcessWithoutNullStreams; url: string; end: Promise<Ended> }> {
  const child = data("label", "set", "--port", "0", "--seed", "3");
  children.push(child);
  let told: (url: string) => void = () => {};
  const url = new Promise<string>((resolve) => (told = resolve));
  const end = watched(child, (text) => {
    const found = /http:\/\/127\.0\.0\.1:\d+\//.exec(text);
    if (found) told(found[0]);
  });
  return { child, url: await Promise.race([url, end.then(({ err }) => Promise.reject(new Error(err)))]), end };
}
const lines = (): any[] =>
  readFileSync(join(folder, "set/.curation/judged.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const says = (page: Page, text: string | RegExp): Promise<void> => page.locator("#progress").filter({ hasText: text }).waitFor();
const name = (page: Page): Promise<string> => page.locator("#name").innerText();

it("judges by keys, keeps it through a kill, and tells the thresholds", { timeout: 120_000 }, async () => {
  const first = await served();
  const page = await browser.newPage();
  const wrong = troublesOf(page);
  await page.goto(first.url);
  await says(page, "1 of 5; 0 judged");
  const one = await name(page);
  expect(one, "text, not HTML").toMatch(/^film <b>\.mp4, [\d.]+ to [\d.]+ s$/);
  await page.waitForFunction(() => [...document.querySelectorAll("img")].some((image) => image.complete && image.naturalWidth > 0));
  for (const key of ["1", "4", "1", "w", "n"]) await page.keyboard.press(key);
  await says(page, "2 of 5; 1 judged");
  expect(lines()).toEqual([{ clip: expect.stringMatching(/^[0-9a-f]{16}$/), good: false, labels: ["lecture", "watermark"] }]);
  await page.keyboard.press("ArrowRight");
  await says(page, "3 of 5; 1 judged");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("y");
  await says(page, "3 of 5; 2 judged");
  await page.keyboard.press("u");
  await says(page, "2 of 5; 1 judged");
  await page.keyboard.press("Y");
  await says(page, "3 of 5; 2 judged");
  first.child.kill("SIGKILL");
  await first.end;
  await page.keyboard.press("n");
  await page.locator("#trouble", { hasText: "That was not kept" }).waitFor();
  expect(wrong.filter((text) => !text.includes("ERR_CONNECTION"))).toEqual([]);
  await page.close();

  const second = await served();
  const again = await browser.newPage();
  const troubles = troublesOf(again);
  await again.goto(second.url);
  await says(again, "3 of 5; 2 judged");
  for (const key of ["4", "n", "y", "y"]) await again.keyboard.press(key);
  await says(again, "All 5 clips of the sample are judged.");
  const row = again.locator("#columns tr", { hasText: "label.lecture" });
  await row.waitFor();
  expect(await row.locator("td").nth(0).innerText()).toBe("lecture");
  await again.selectOption("#by", "f1");
  await again.waitForFunction(() => document.querySelectorAll("#columns tr").length > 10);
  expect(troubles).toEqual([]);
  await again.close();
  second.child.kill("SIGINT");
  const { code, out } = await second.end;
  expect([code, out]).toEqual([0, expect.stringContaining("5 clips are judged; thresholds that are best by Youden's J")]);

  const told = JSON.parse((await ended("label", "set", "--json", "--by", "f1")).out);
  expect(told).toMatchObject({ by: "f1", judged: 5 });
  const lecture = told.columns.find(({ column }: { column: string }) => column === "label.lecture");
  expect(lecture.tells).toBe("lecture");
  expect(lecture.yes + lecture.no, "the clip that nobody asked the model about has no label").toBe(4);
  const flicker = told.columns.find(({ column }: { column: string }) => column === "flicker");
  expect(flicker).toMatchObject({ tells: "good", yes: 3, no: 2 });
  expect((await ended("label", "set", "--report")).out).toMatch(/label\.lecture +lecture/);
  expect((await ended("label", "raw", "--report")).err).toMatch(/must be a data set that `node \S+launch\.js data run`/);
});

it("nobody else may ask, and nothing from elsewhere runs", { timeout: 60_000 }, async () => {
  const { child, url, end } = await served();
  const page = await fetch(url);
  expect(page.headers.get("content-security-policy")).toMatch(/default-src 'none'; script-src 'self'; .*frame-ancestors 'none'/);
  expect(await page.text()).not.toMatch(/\s(style|on\w+)=|<script>/);
  const before = lines().length;
  const body = JSON.stringify({ clip: lines()[0].clip, good: true, labels: [] });
  const post = (headers: Record<string, string>, text = body): Promise<number> =>
    fetch(`${url}judged`, { method: "POST", headers, body: text }).then(({ status }) => status);
  const own = { origin: url.slice(0, -1), "content-type": "application/json" };
  expect(await post({ ...own, origin: "http://elsewhere.example" })).toBe(403);
  expect(await post({ ...own, "content-type": "text/plain" })).toBe(403);
  expect(await post(own, "{")).toBe(400);
  expect(await post(own, JSON.stringify({ clip: lines()[0].clip, good: true, labels: ["../x"] }))).toBe(400);
  expect(await post(own, JSON.stringify({ clip: "0".repeat(16), good: true, labels: [] }))).toBe(400);
  expect(await post(own, `{"clip":"${"x".repeat(5000)}"}`)).toBe(400);
  for (const path of ["../package.json", "clips/0123456789abcdef", "clips/..%2f", "judged.jsonl"])
    expect((await fetch(`${url}${path}`)).status).toBe(404);
  expect(lines()).toHaveLength(before);
  const other = await ended("label", "set", "--port", "0");
  expect([other.code, other.err]).toEqual([1, expect.stringContaining("label.lock")]);
  child.kill("SIGINT");
  await end;
});

it("axe finds nothing, at 390 and 1440 pixels, light and dark; nothing is wider than the page", { timeout: 120_000 }, async () => {
  const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  const { child, url, end } = await served();
  const page = await (await browser.newContext({ bypassCSP: true })).newPage();
  await page.goto(url);
  await page.locator("#columns tr").first().waitFor();
  await page.locator("#pictures img").first().waitFor();
  await page.keyboard.press("2");
  await page.evaluate(axe);
  for (const width of [390, 1440])
    for (const colorScheme of ["light", "dark"] as const) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme });
      const { violations } = await page.evaluate(() => (globalThis as any).axe.run());
      const found = violations.map(({ id, nodes }: any) => `${id}: ${nodes[0].html}`);
      expect(found, `${width} ${colorScheme}`).toEqual([]);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      await page.screenshot({ path: join(SHOTS, `label-${width}-${colorScheme}.png`), fullPage: true });
    }
  child.kill("SIGINT");
  await end;
});
