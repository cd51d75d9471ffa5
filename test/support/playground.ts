/** The playground as a visitor has it: built, served, in a real browser. Screenshots are kept in dist/screenshots. */
import { execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll } from "vitest";
import { siteHeaders } from "../../web/headers.ts";
import { serveFolder, type StaticServer } from "../../web/server.ts";
import { launchChromium, troublesOf } from "./chromium.ts";
import { removeTinyCheckpoints } from "./tiny-checkpoint.ts";

export const ROOT = join(import.meta.dirname, "../..");
export const SHOTS = join(ROOT, "dist/screenshots");

export let browser: Browser;
export let site: StaticServer;
export let folder: string;

/** Builds the site and serves it to a browser, for the tests of a file. */
export function usePlayground(): void {
  beforeAll(async () => {
    execFileSync(process.execPath, ["build.mjs", "--web", "--if-stale"], { cwd: ROOT });
    await mkdir(SHOTS, { recursive: true });
    // Below a path of its own, as a static host may have it.
    folder = await mkdtemp(join(tmpdir(), "cogwheel-site-"));
    await cp(join(ROOT, "dist/web"), join(folder, "some/where"), { recursive: true });
    site = await serveFolder(folder, {}, { compress: true, headers: await siteHeaders(join(ROOT, "dist/web")) });
    browser = await launchChromium();
  }, 300_000);
  afterAll(async () => {
    await browser?.close();
    await site?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
    await removeTinyCheckpoints();
  });
}

/** A page of the playground, and all that went wrong in it. */
export async function open(
  hash = "",
  { prepare, url = site.url, ...options }: { prepare?: (page: Page) => Promise<unknown>; url?: string } & BrowserContextOptions = {},
): Promise<{ page: Page; wrong: string[] }> {
  const context = await browser.newContext({ acceptDownloads: true, permissions: ["clipboard-read", "clipboard-write"], ...options });
  const page = await context.newPage();
  // A busy machine takes more than half a minute to open a model, which is no fault of the page.
  page.setDefaultTimeout(120_000);
  const wrong = troublesOf(page);
  await prepare?.(page);
  await page.goto(`${url}some/where/index.html${hash}`);
  return { page, wrong };
}

export const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();
/** What went wrong, with the details that are folded away. */
export const told = async (page: Page): Promise<string> => (await page.locator("#notice").textContent())!;
export const ready = (page: Page): Promise<unknown> =>
  page.waitForFunction(() => document.getElementById("plan")!.textContent!.startsWith("Takes"), undefined, { timeout: 60_000 });
export const finished = (page: Page): Promise<unknown> => page.waitForSelector("#result:not([hidden])", { timeout: 240_000 });
/** Waits until the caption has these words. @returns the figures beside them: a moment later they may be those of the next stage */
export const captionSays = async (page: Page, part: string): Promise<string> => {
  const said = await page.waitForFunction(
    (part) =>
      document.getElementById("caption")!.textContent!.includes(part) && { figures: document.getElementById("figures")!.textContent! },
    part,
    { timeout: 120_000 },
  );
  const { figures } = (await said.jsonValue()) as { figures: string };
  return figures;
};
/** The engine in the page's worker; its state is there for the console. */
export const inWorker = <T>(page: Page, body: string): Promise<T> => page.workers()[0]!.evaluate(body) as Promise<T>;
/** The end of a range as a field has it. */
export const ranged = (max: number | undefined): string => (max === undefined || max === Number.MAX_SAFE_INTEGER ? "" : String(max));
/** Fills the settings, which are folded away. */
export async function set(page: Page, values: Record<string, string>): Promise<void> {
  await page.locator("#settings").evaluate((box) => {
    (box as HTMLDetailsElement).open = true;
  });
  for (const [id, value] of Object.entries(values))
    if (id === "frames" || id === "scheduler") await page.selectOption(`#${id}`, value);
    else await page.fill(`#${id}`, value);
}

export async function chooseFolder(page: Page, path: string): Promise<void> {
  await page.locator("#model-box").evaluate((box) => {
    (box as HTMLDetailsElement).open = true;
  });
  await page.check('input[name="model"][value="folder"]');
  await page.setInputFiles("#folder", path);
}
