/** The playground's tab that trains an adapter, as a visitor has it. Screenshots are kept in dist/screenshots. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { expect, it } from "vitest";
import { captionOf, drawClip } from "../../src/check/moving-shapes.ts";
import type { World } from "../../src/check/clip-attributes.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { finished, inWorker, open, ready, ROOT, set, SHOTS, text, told, usePlayground } from "../support/playground.ts";

usePlayground();

const says = (page: Page, start: string): Promise<unknown> =>
  page.waitForFunction((start) => document.getElementById("train-doing")!.textContent!.startsWith(start), start, { timeout: 240_000 });

it("learns from picked and drawn clips, stops, goes on, and its file is saved and put to use", { timeout: 600_000 }, async () => {
  const { page, wrong } = await open();
  await ready(page);
  await page.click("#tab-train");
  // A picture, a film, and drawn clips.
  const world = JSON.parse(await readFile(join(ROOT, "models/moving-shapes/attributes.json"), "utf8")) as World;
  const combination = { colour: "red", shape: "star", motion: "growing", background: "white" };
  const frames = drawClip(combination, world, { frames: 9, width: 64, height: 64, random: () => 0.5 });
  const film = Buffer.from(await encodeVideo(frames, { format: "gif", fps: 8 }));
  await page.setInputFiles("#train-files", [
    { name: "a-red_star.gif", mimeType: "image/gif", buffer: film },
    { name: "still.png", mimeType: "image/png", buffer: await page.screenshot({ clip: { x: 0, y: 0, width: 80, height: 80 } }) },
  ]);
  expect(await text(page, "train-count")).toBe("2 clips");
  const captions = page.locator("#train-clips input");
  expect(await captions.first().inputValue()).toBe("a red star");
  await captions.first().fill(captionOf(combination));
  await captions.nth(1).fill("");
  await page.click("#train-start");
  await page.waitForSelector("#notice:not([hidden])");
  expect(await told(page)).toMatch(/every clip must have a caption, got none for 1 of 2, such as still\.png; say what it shows/);
  await page.locator("#train-clips button").nth(1).click();
  expect(await text(page, "train-count")).toBe("1 clip");
  await page.click("#train-draw");
  await page.waitForFunction(() => document.querySelectorAll("#train-clips li").length === 13);
  expect(await captions.last().inputValue()).toMatch(/^a \w+ star /);
  const wide = page.viewportSize()!;
  await page.setViewportSize({ width: 390, height: 844 });
  expect((await captions.last().boundingBox())!.width, "a caption can be read on a phone").toBeGreaterThan(300);
  await page.setViewportSize(wide);

  for (const [id, value] of Object.entries({ steps: "8", rank: "4", rate: "0.002", every: "3", prompt: captionOf(combination) }))
    await page.fill(`#train-${id}`, value);
  await page.click("#train-start");
  await says(page, "Step 2 of 8: loss ");
  await page.click("#train-cancel");
  await says(page, "Stopped after ");
  const stopped = Number(/Stopped after (\d) of 8 steps: loss [\d.]+/.exec(await text(page, "train-doing"))![1]);
  expect(stopped).toBeLessThan(8);
  expect(await page.locator("#train-chart circle").count()).toBe(stopped);
  await page.click("#train-resume");
  await says(page, "8 steps: loss ");
  expect(await page.locator("#train-chart circle").count()).toBe(8);
  expect(await page.locator("#train-sample").isVisible(), "a sample on the way").toBe(true);
  expect(await text(page, "train-caption")).toContain("After step 8");
  expect(await page.locator("#train-resume").isHidden()).toBe(true);
  await page.screenshot({ path: join(SHOTS, "playground-train.png"), fullPage: true });
  await page.setViewportSize({ width: 390, height: 844 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth), "nothing is wider than a phone").toBeLessThanOrEqual(390);
  await page.setViewportSize({ width: 1280, height: 800 });

  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#train-save")]);
  expect(download.suggestedFilename()).toBe("pytorch_lora_weights.safetensors");
  const file = await openSafetensors(memorySource({ kept: new Uint8Array(await readFile(await download.path())) }), "kept");
  expect(file.tensors.size).toBe(5 * 4 * 2);
  expect([...file.tensors.keys()]).toContain("transformer.transformer_blocks.0.attn1.to_q.lora_A.weight");

  await page.click("#train-use");
  expect(await page.getAttribute("#tab-generate", "aria-selected")).toBe("true");
  expect(await text(page, "adapter-name")).toBe("trained here");
  const made = async (): Promise<number[]> => {
    await page.click("#start");
    await page.waitForSelector("#run:not([hidden])");
    await finished(page);
    return await inWorker<number[]>(page, "[...cogwheel.video.frames[0].data]");
  };
  await set(page, { steps: "2", frames: "1", seed: "1" });
  const [changed, again] = [await made(), await made()];
  expect(again).toEqual(changed);
  await page.click("#adapter-clear");
  expect(await made()).not.toEqual(changed);
  expect(wrong).toEqual([]);
  await page.context().close();
});
