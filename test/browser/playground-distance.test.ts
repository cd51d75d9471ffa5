/** The playground from a server at some distance: how often it is asked, and what that costs. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { expect, it } from "vitest";
import { delayed } from "../support/delayed.ts";
import { finished, open, ready, ROOT, set, site, usePlayground } from "../support/playground.ts";

usePlayground();

/** Milliseconds from the press of the button to the video. */
async function makes(page: Page): Promise<number> {
  const began = performance.now();
  await page.click("#start");
  await page.waitForSelector("#run:not([hidden])");
  await finished(page);
  return performance.now() - began;
}

it("fetches each file of the embedded model once, and nothing at all for the second video", { timeout: 300_000 }, async () => {
  const DELAY_MS = 60;
  await using far = await delayed(site.url, DELAY_MS);
  // Without a service worker, which would keep files too.
  const time = async (url: string): Promise<{ first: number; second: number; early: number; later: number }> => {
    const { page, wrong } = await open("", { url, serviceWorkers: "block" });
    await ready(page);
    await set(page, { steps: "2", frames: "9", seed: "1" });
    const before = far.asked.length;
    const first = await makes(page);
    const between = far.asked.length;
    await set(page, { seed: "2" });
    const second = await makes(page);
    expect(wrong.filter((line) => !line.includes("blocked by Playwright"))).toEqual([]);
    await page.context().close();
    return { first, second, early: between - before, later: far.asked.length - between };
  };
  const near = await time(site.url);
  const there = await time(far.url);
  const model = far.asked.filter((path) => path.includes("models/"));
  const [first, second] = [there.first / near.first, there.second / near.second].map((ratio) => ratio.toFixed(2));
  console.log(
    `from a server ${DELAY_MS} ms away: the first video ${first} × the time of one on this machine, ${there.early} requests ` +
      `(${model.length} of the model in all); the second ${second} ×, ${there.later} requests`,
  );
  expect(there.later, "requests for the second video").toBe(0);
  expect(there.early, "requests for the first one").toBeLessThanOrEqual(20);
  for (const path of new Set(model)) {
    const times = model.filter((one) => one === path).length;
    expect(times, `${path}: its head, and all of it`).toBeLessThanOrEqual(/safetensors$|spiece/.test(path) ? 2 : 1);
  }
});

it("fetches little more than the checkpoint for a first video, and nothing on the next visit", { timeout: 300_000 }, async () => {
  const model = join(ROOT, "dist/web/models/moving-shapes");
  const files = await Promise.all((await readdir(model, { recursive: true })).map((path) => stat(join(model, path))));
  const checkpoint = files.reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0);
  await using counted = await delayed(site.url, 0);
  const { page, wrong } = await open("", { url: counted.url });
  await ready(page);
  // At once, whether the service worker has the page by then or not.
  await set(page, { steps: "1", frames: "1" });
  await makes(page);
  await page.waitForTimeout(500);
  const first = counted.bytes;
  await page.reload();
  await ready(page);
  await makes(page);
  console.log(`first visit ${first} bytes, of which the checkpoint ${checkpoint}; second visit ${counted.bytes - first}`);
  expect(first).toBeLessThanOrEqual(checkpoint + 500_000);
  expect(counted.bytes - first, "of the second visit").toBe(0);
  expect(wrong).toEqual([]);
  await page.context().close();
});
