/** The page of `cogwheel serve` in a real browser: a video is made, one is cancelled, and a key is asked for where there are keys. */
import { readFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launchChromium, troublesOf } from "../support/chromium.ts";
import { jobServer } from "../support/job-server.ts";
import { serveProcess } from "../support/serve-process.ts";

let browser: Browser;
let folder: string;
beforeAll(async () => {
  browser = await launchChromium();
  folder = await mkdtemp(join(tmpdir(), "cogwheel-serve-page-"));
}, 60_000);
afterAll(async () => {
  await browser.close();
  await rm(folder, { recursive: true, force: true });
});

async function ask(page: Page, prompt: string, settings: Readonly<Record<string, string>>): Promise<void> {
  await page.fill("#prompt", prompt);
  await page.locator("details").evaluate((details) => details.setAttribute("open", ""));
  for (const [name, value] of Object.entries(settings)) await page.fill(`#${name}`, value);
  await page.click("#submit");
}

it("makes a video, tells what cannot be made, cancels and deletes", { timeout: 120_000 }, async () => {
  await using server = await serveProcess(["--queue", join(folder, "jobs")], folder);
  const page = await browser.newPage();
  const wrong = troublesOf(page);
  await page.goto(server.url);
  const small = { size: "32x32", num_frames: "8", guidance_scale: "1", seed: "7" };
  await ask(page, "a red circle <b>", { ...small, num_inference_steps: "3" });
  const made = page.locator("#jobs > li", { hasText: "a red circle <b>" });
  await made.locator("video").waitFor({ timeout: 60_000 });
  expect(await made.innerText()).toMatch(/32x32, 1 s, seed 7/);
  expect(await made.locator("a[download]").getAttribute("download")).toMatch(/^video_[0-9a-f]{32}\.mp4$/);

  await ask(page, "no end", { ...small, num_inference_steps: "1000" });
  const endless = page.locator("#jobs > li", { hasText: "no end" });
  // Previews come by the stream of events.
  await endless.locator("img").waitFor({ timeout: 30_000 });
  await endless.getByRole("button", { name: "Cancel" }).click();
  await endless.getByText("cancelled").waitFor();
  await endless.getByRole("button", { name: "Delete" }).click();
  await endless.waitFor({ state: "detached" });
  expect(wrong).toEqual([]);

  await ask(page, "a size", { ...small, size: "33x33" });
  await page.locator("#trouble", { hasText: "height and width must be multiples of 16, got" }).waitFor();
  await page.screenshot({ path: "dist/screenshots/serve.png", fullPage: true });
  await page.close();
});

it("asks for a key where there are keys, and keeps it for the tab", async () => {
  const script = new Uint8Array(await readFile("dist/cogwheel-serve-page.js"));
  await using server = await jobServer({ ann: {} }, { script });
  const page = await browser.newPage();
  const answer = await page.goto(server.url);
  expect(answer!.headers()["content-security-policy"]).toMatch(/default-src 'none'; script-src 'self'/);
  await page.fill("#key", server.keys["ann"]!);
  await page.click("#key-form button");
  await page.getByText("Nothing to be made.").waitFor();
  await page.reload();
  await page.getByText("Nothing to be made.").waitFor();
  expect(await page.locator("#key-form").isHidden()).toBe(true);
  await page.close();
});
