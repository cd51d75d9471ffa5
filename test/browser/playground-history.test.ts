/** What the playground keeps: videos made earlier, the queue, the form. Screenshots are kept in dist/screenshots. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { expect, it } from "vitest";
import { decodeVideo } from "../../src/video/decode.ts";
import { captionSays, finished, inWorker, open, ready, set, SHOTS, text, told, usePlayground } from "../support/playground.ts";

usePlayground();

const tiles = (page: Page, count: number): Promise<unknown> =>
  page.waitForFunction((count) => document.querySelectorAll("#strip li").length === count, count);
const focused = (page: Page): Promise<string> => page.evaluate(() => document.activeElement!.id || document.activeElement!.tagName);
const picture = (page: Page): Promise<string> => page.locator("#canvas").evaluate((canvas) => (canvas as HTMLCanvasElement).toDataURL());

it("keeps every video with its settings, queues requests, and has both again after a reload", { timeout: 300_000 }, async () => {
  const { page, wrong } = await open();
  await ready(page);
  await set(page, { steps: "1", frames: "1", seed: "1" });
  await page.focus("#start");
  await page.keyboard.press("Enter");
  expect(await focused(page), "the button stays where it was").toBe("start");
  // While it runs, two more are asked for; one of them is taken back.
  expect(await text(page, "start")).toBe("Add to the queue");
  await page.fill("#prompt", "a cyan square growing on a gray background");
  await set(page, { seed: "7" });
  await page.click("#start");
  await page.fill("#prompt", "a yellow triangle moving up on a white background");
  await page.click("#start");
  expect(await page.locator("#queue-list li").allInnerTexts()).toEqual([
    expect.stringContaining("a cyan square growing on a gray background · seed 7"),
    expect.stringContaining("a yellow triangle"),
  ]);
  await page.screenshot({ path: join(SHOTS, "playground-queue.png"), fullPage: true });
  await page.locator("#queue-list button").nth(1).click();
  expect(await focused(page)).toBe("BUTTON");
  await tiles(page, 2);
  await finished(page);
  expect(await text(page, "caption")).toContain("“a cyan square growing on a gray background” · seed 7");
  const square = await picture(page);
  await page.fill("#prompt", "half a prompt, not yet");
  await set(page, { steps: "3" });

  await page.reload();
  await ready(page);
  expect([await page.inputValue("#prompt"), await page.inputValue("#steps"), await page.inputValue("#seed")], "the form").toEqual([
    "half a prompt, not yet",
    "3",
    "7",
  ]);
  await tiles(page, 2);
  await page.locator("#strip button").nth(0).click();
  await finished(page);
  expect(await picture(page), "the same pixels").toBe(square);
  expect([await page.inputValue("#prompt"), await page.inputValue("#steps"), await page.inputValue("#seed")], "its settings").toEqual([
    "a cyan square growing on a gray background",
    "1",
    "7",
  ]);
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save-mp4")]);
  expect(download.suggestedFilename()).toBe("a-cyan-square-growing-on-a-gray-background-7.mp4");
  const bytes = await readFile(await download.path());
  expect((await decodeVideo(new Uint8Array(bytes))).frames.length).toBe(1);
  expect(bytes.toString("latin1"), "what it was made with").toContain('"seed":7');
  await page.screenshot({ path: join(SHOTS, "playground-history.png"), fullPage: true });

  // Two side by side: left of the line the one, right of it the other.
  const column = (): Promise<string> =>
    page.locator("#canvas").evaluate((canvas) => {
      // Of a copy: the page's own canvas is made to be shown, not to be read. A pair is drawn larger.
      const copy = new OffscreenCanvas(64, 64).getContext("2d")!;
      copy.imageSmoothingEnabled = false;
      copy.drawImage(canvas as HTMLCanvasElement, 0, 0, 64, 64);
      return String(copy.getImageData(25, 0, 1, 64).data);
    });
  const own = await column();
  await page.click("#compare");
  await page.locator("#strip button").nth(1).click();
  await page.waitForSelector("#split-box:not([hidden])");
  expect(await focused(page)).toBe("split");
  expect(await text(page, "caption")).toMatch(/Left: “a cyan square.*”, seed 7 · Right: “a red circle.*”, seed 1$/);
  expect(await column()).toBe(own);
  const lineAt = (): Promise<number> =>
    page.locator("#canvas").evaluate((canvas) => {
      const { width } = canvas as HTMLCanvasElement;
      const copy = new OffscreenCanvas(width, 1).getContext("2d")!;
      copy.drawImage(canvas as HTMLCanvasElement, 0, 0);
      const { data } = copy.getImageData(0, 0, width, 1);
      const white = (x: number): boolean => [0, 1, 2].every((c) => data[4 * x + c] === 255);
      return (
        Array.from({ length: width - 1 }, (_, x) => x).find((x) => white(x) && white(x + 1) && !white(x + 2) && !white(x - 1))! / width
      );
    });
  expect(await lineAt(), "a line between the two").toBeCloseTo(0.5, 2);
  await page.screenshot({ path: join(SHOTS, "playground-pair.png") });
  for (let i = 0; i < 25; i++) await page.keyboard.press("ArrowLeft");
  expect(await column()).not.toBe(own);
  expect(await lineAt()).toBeCloseTo(0.25, 2);
  await page.click("#compare");
  expect(await picture(page), "alone again").toBe(square);

  // Four draws of it at once, as many as the form says.
  await page.selectOption("#samples", "4");
  expect([await text(page, "start"), await text(page, "another")]).toEqual(["Make 4 videos", "4 other seeds"]);
  await page.click("#another");
  await tiles(page, 6);
  await page.waitForFunction(() => (document.getElementById("canvas") as HTMLCanvasElement).width === 130);
  expect(await text(page, "caption")).toMatch(/· seeds \d+, \d+, \d+, \d+$/);
  await page.screenshot({ path: join(SHOTS, "playground-four.png"), fullPage: true });
  await page.locator("#strip button").nth(5).click();
  await captionSays(page, "seed 1 ");
  expect(await page.inputValue("#samples"), "what is asked of the next ones").toBe("4");

  // Three of the form's own seed, which the others count on from; the place of a fourth has nothing of what was there.
  await page.selectOption("#samples", "3");
  await set(page, { seed: "1" });
  await page.waitForFunction(() => document.getElementById("plan")!.textContent!.includes("Each of the 3 takes that"));
  await page.click("#start");
  await captionSays(page, "· seeds 1, 2, 3");
  await tiles(page, 9);
  await page.screenshot({ path: join(SHOTS, "playground-three.png"), fullPage: true });
  const corners = await page.locator("#canvas").evaluate((canvas) => {
    const copy = new OffscreenCanvas(130, 130).getContext("2d", { willReadFrequently: true })!;
    copy.drawImage(canvas as HTMLCanvasElement, 0, 0);
    return [0, 66].map((x) => copy.getImageData(x, 66, 64, 64).data.some((value, i) => i % 4 < 3 && value > 60));
  });
  expect(corners, "the third, and nothing beside it").toEqual([true, false]);
  await page.reload();
  await ready(page);
  expect([await page.inputValue("#samples"), await text(page, "start")], "kept with the form").toEqual(["3", "Make 3 videos"]);
  await page.selectOption("#samples", "1");
  await page.locator("#strip button").nth(2).click();
  await captionSays(page, "seed 1 ");
  await set(page, { seed: "7" });

  // Another draw of it; while it runs an earlier video is looked at, and what is being made after that.
  await set(page, { steps: "100" });
  await page.click("#another");
  await page.waitForSelector("#run:not([hidden])");
  await page.locator("#strip button").nth(8).click();
  await finished(page);
  expect(await text(page, "caption")).toContain("seed 1 ");
  await page.click("#watch");
  expect(await page.isHidden("#result")).toBe(true);
  // A check that waits for it is stopped by itself.
  await page.click("#tab-gpu");
  await page.click("#check-start");
  await page.click("#check-cancel");
  const stepOf = async (): Promise<number> => Number(/step (\d+) of/.exec((await page.locator("#caption").textContent())!)?.[1] ?? 0);
  const before = await stepOf();
  await page.click("#tab-generate");
  await page.waitForFunction((before) => {
    const found = /step (\d+) of/.exec(document.getElementById("caption")!.textContent!);
    return Number(found?.[1] ?? 0) > before + 1;
  }, before);
  expect(await page.isVisible("#cancel"), "the video is being made").toBe(true);
  await page.click("#cancel");
  await page.waitForFunction(() => document.getElementById("outcome")!.textContent!.startsWith("Stopped."));
  expect(await focused(page), "what had the focus is hidden").toMatch(/^(resume|start)$/);
  expect(await page.isVisible("#result"), "the video before keeps its buttons").toBe(true);
  await page.waitForFunction(() => document.getElementById("cases-doing")!.textContent === "Stopped.");
  await captionSays(page, "seed 1 ");

  // Damage is told, and is the end of that video alone.
  await inWorker(
    page,
    "(async () => { const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('cogwheel-videos'); " +
      "const [name] = (await Array.fromAsync(folder.keys())).sort(); const file = await folder.getFileHandle(name); " +
      "const whole = await (await file.getFile()).arrayBuffer(); const out = await file.createWritable(); " +
      "await out.write(whole.slice(0, -50)); await out.close(); })()",
  );
  await page.reload();
  await ready(page);
  await tiles(page, 9);
  await page.locator("#strip button").nth(8).click();
  await page.waitForSelector("#notice:not([hidden])");
  expect(await told(page)).toMatch(/file that is damaged.*make it again with its settings/s);
  await page.locator("#strip button").nth(0).click();
  await finished(page);
  await page.click("#forget");
  await page.click("#forget");
  await tiles(page, 8);
  expect(await focused(page)).toBe("start");
  await page.click("#kept-clear");
  expect(await text(page, "kept-clear")).toBe("Remove all for good");
  await tiles(page, 8);
  await page.click("#kept-clear");
  await page.waitForSelector("#kept", { state: "hidden" });
  expect(wrong).toEqual([]);
  await page.context().close();
});
