/** The playground by keyboard alone, and as axe sees it. Screenshots are kept in dist/screenshots. */
import { readFile } from "node:fs/promises";
import type { Page } from "playwright-core";
import { expect, it } from "vitest";
import { decodeVideo } from "../../src/video/decode.ts";
import { axeFor, focused } from "../support/axe.ts";
import { finished, open, ready, usePlayground } from "../support/playground.ts";

usePlayground();

/** Goes on by Tab until something has the focus. */
async function tabTo(page: Page, id: string): Promise<void> {
  for (let presses = 0; (await focused(page)) !== id; presses++) {
    expect(presses, `Tab comes to ${id}`).toBeLessThan(80);
    await page.keyboard.press("Tab");
  }
}

it("from loading it to a saved video by keyboard; axe finds nothing in any state", { timeout: 300_000 }, async () => {
  const { page, wrong } = await open("", { bypassCSP: true });
  await ready(page);
  const check = await axeFor(page);

  await tabTo(page, "prompt");
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type("a red circle");
  await page.keyboard.press("Tab");
  for (let i = 0; i < 3 && (await focused(page)) === "BUTTON"; i++) await page.keyboard.press("Tab");
  await page.evaluate(() => {
    for (const box of document.querySelectorAll("details")) box.open = true;
  });
  for (const radio of ["url", "folder", "embedded"]) {
    await page.locator(`input[name="model"][value="${radio}"]`).evaluate((input) => {
      (input as HTMLInputElement).checked = true;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    });
    if (radio !== "embedded") await check(radio);
  }
  await tabTo(page, "frames");
  await page.keyboard.press("Home");
  expect(await page.inputValue("#frames"), "the shortest, a picture").toBe("1");
  for (const [id, value] of Object.entries({ steps: "200", seed: "4" })) {
    await tabTo(page, id);
    await page.keyboard.press("ControlOrMeta+a");
    await page.keyboard.type(value);
  }
  const own = await page.title();
  await page.keyboard.press("ControlOrMeta+Enter");
  await page.waitForFunction(() => document.title.includes(" left · Cogwheel"));
  await check("running");
  // Stop has the focus, and goes away with the run.
  await tabTo(page, "cancel");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.getElementById("outcome")!.textContent!.startsWith("Stopped."));
  expect(await page.title()).toBe(own);
  expect(await focused(page), "the nearest to what is gone").toBe("resume");
  await check("stopped");
  await tabTo(page, "steps");
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type("1");
  await page.keyboard.press("ControlOrMeta+Enter");
  await finished(page);
  await check("done");

  // Space is the player's where it is of no other use.
  await page.focus("#panel-generate");
  await page.keyboard.press("Space");
  expect(await page.locator("#play").textContent()).toBe("Play");
  await page.focus("#prompt");
  await page.keyboard.press("End");
  await page.keyboard.press("Space");
  expect(await page.locator("#play").textContent(), "a letter of the prompt").toBe("Play");
  await tabTo(page, "save-gif");
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
  expect((await decodeVideo(new Uint8Array(await readFile(await download.path())))).width).toBe(64);
  await tabTo(page, "width");
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type("65");
  await page.keyboard.press("ControlOrMeta+Enter");
  await page.waitForSelector("#notice:not([hidden])");
  await check("refused");
  // What is said of a field goes when the field is mended.
  await tabTo(page, "width");
  await page.keyboard.press("Backspace");
  expect([await page.isHidden("#notice"), await page.getAttribute("#width", "aria-invalid")]).toEqual([true, null]);

  await page.focus("#tab-generate");
  for (const tab of ["train", "gpu"]) {
    await page.keyboard.press("ArrowRight");
    expect(await focused(page)).toBe(`tab-${tab}`);
    if (tab === "train") await page.locator("#train-draw").press("Enter");
    if (tab === "train") await page.waitForFunction(() => document.querySelectorAll("#train-clips li").length === 12);
    await check(tab);
    if (tab === "gpu") {
      await tabTo(page, "check-start");
      await page.keyboard.press("Enter");
      await page.waitForSelector("#check-verdict:not([hidden])");
      await page.locator("#cases-all summary").press("Enter");
      await check("checked");
    }
    await page.focus(`#tab-${tab}`);
  }
  expect(wrong).toEqual([]);
  await page.context().close();
});
